"""Stage `prepare`: the clips of one corpus, checked, decoded, mixed to mono, resampled, levelled.

python -m stages.prepare CORPUS
"""

from __future__ import annotations

from pathlib import Path

from stages.clips.completeness import log_completeness, read_release
from stages.clips.preparation import prepare_corpus
from stages.running.entry import only_argument, run_command
from stages.settings.loading import bind, load_params
from stages.sources.files import locate


def main() -> None:
    """Write data/corpora/<corpus>/."""
    params = load_params()
    corpus = only_argument("corpus", known=params.corpora)
    root = locate(f"{params.data.root}/{corpus}")
    rows = bind(params.corpora[corpus].reader, "corpora")(root)
    clips = prepare_corpus(
        rows, corpus=corpus, root=root, folder=Path("data/corpora", corpus), **params.audio
    )
    release = read_release(params.corpora[corpus].get("release"))
    if release and params.data.name != "demo":  # demo corpora are small by design
        log_completeness(clips, corpus=corpus, release=release)


if __name__ == "__main__":
    run_command(main)
