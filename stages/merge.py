"""Stage `merge`: all corpora in one clip table and one audio store; duplicates found.

python -m stages.merge
"""

from __future__ import annotations

from pathlib import Path

from stages.clips.merge import merge_corpora
from stages.clips.settings import load_params


def main() -> None:
    params = load_params()
    merge_corpora(
        list(params.corpora),
        prepared=Path("data/corpora"),
        folder=Path("data/merged"),
        duplicates=params.duplicates,
    )


if __name__ == "__main__":
    main()
