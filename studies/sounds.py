"""Draw how long and how loud the clips of the merged corpora are, before any training.

python -m studies.sounds FOLDER

After the stage `merge`, it writes FOLDER/corpora_durations.png and FOLDER/corpora_levels.png, and
prints how many files of each corpus are not used, and why. The report has the same figures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from stages.audio.store import open_audio
from stages.clips.clip_table import count_reasons, read_clips
from stages.reporting.drawing import encode, style
from stages.reporting.sections.corpus_facts import describe_corpora, draw_corpora, used_levels
from stages.running.entry import run_command
from stages.running.outputs import complete
from stages.settings.loading import load_params

MERGED = Path("data/merged")
DRAWN = ("corpora_durations", "corpora_levels")


def draw_sounds(merged: Path, *, sample_rate: int) -> dict[str, bytes]:
    """Draw durations and levels of merged corpora.

    Parameters
    ----------
    merged : Path
        holds clips.csv and audio.npy
    sample_rate : int
        of the audio store, in Hz

    Returns
    -------
    dict of str to bytes
        PNG by file name
    """
    clips = read_clips(merged / "clips.csv").query("variant == 'clean'")
    clips = clips.assign(
        used_s=clips["samples"] / sample_rate,
        used_db=used_levels(clips, store=open_audio(merged / "audio.npy")),
    )
    table = describe_corpora(clips, completeness={})
    with style():
        figures = draw_corpora(clips, table=table, notes=[])
        return {f"{name}.png": encode(figures[name], "png") for name in DRAWN}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    folder = parser.parse_args().folder
    drawn = draw_sounds(MERGED, sample_rate=load_params().audio.sample_rate)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in drawn.items():
        with complete(folder / name) as part:
            part.write_bytes(content)
        print(folder / name)
    for corpus, clips in read_clips(MERGED / "clips.csv").groupby("corpus"):
        for reason, count in count_reasons(clips).items():
            print(f"{corpus}: {count} not used: {reason}")


if __name__ == "__main__":
    run_command(main)
