"""Stage `merge`: one clip table and one audio store; duplicates settled, training variants added.

python -m stages.merge
"""

from __future__ import annotations

from pathlib import Path

from stages.clips.merging import merge_corpora
from stages.clips.variants import Variants
from stages.running.entry import run_command
from stages.settings.loading import bind, load_params


def main() -> None:
    """Write data/merged/."""
    params = load_params()
    merge_corpora(
        list(params.corpora),
        prepared=Path("data/corpora"),
        folder=Path("data/merged"),
        duplicates=params.duplicates,
        variants=Variants(
            {name: bind(settings, "variants") for name, settings in params.variants.items()},
            sample_rate=params.audio.sample_rate,
            hop_length=params.audio.hop_length,
            level=params.audio.level,
        ),
    )


if __name__ == "__main__":
    run_command(main)
