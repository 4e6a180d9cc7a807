"""Write the functionals and label of every clip to one CSV file, for other tools.

python -m studies.table [--output FILE] [--functionals NAME ...]

It reads the caches of the features in params.yaml. Training variants are left out, because other
tools would treat them as recordings. Columns: clip, corpus, speaker, sex, emotion, label, then
<feature>_<dimension>_<functional>.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from stages.audio.frames import first_frames
from stages.clips.clip_table import read_clips
from stages.clips.feature_files import open_caches
from stages.learning.batches import ClipData
from stages.learning.functionals import available, functional_names, functionals
from stages.running.entry import run_command
from stages.running.outputs import complete
from stages.settings.loading import load_params
from stages.splits.labels import label_clips

OUTPUT = Path("reports/functionals.csv")
#: Functionals by default; the last needs the feature pitch.
FUNCTIONALS = ("mean", "deviation", "slope", "percentiles", "change", "voiced")
_ROWS = 256  # clips in memory at a time


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"default: {OUTPUT}")
    chosen = f"default: {' '.join(FUNCTIONALS)}"
    parser.add_argument("--functionals", nargs="+", action="extend", help=chosen)
    arguments = parser.parse_args()
    output = arguments.output
    if output != OUTPUT and output.exists():
        raise ValueError(f"{output}: already exists, want a new file")
    params = load_params()
    clips = read_clips("data/merged/clips.csv")
    clips["first"] = first_frames(clips["frames"].to_numpy())
    caches = open_caches(
        Path("data/features"), names=list(params.features), frames=int(clips["frames"].sum())
    )
    clips = clips[clips["variant"] == "clean"]
    clips = label_clips(clips, name=params.labels.name, mapping=params.labels.map)
    data = ClipData(
        caches=caches,
        first=clips["first"].to_numpy(),
        frames=clips["frames"].to_numpy(),
        labels=np.zeros(len(clips), dtype=np.int64),
        n_classes=1,
    )
    known = available(data.inputs)
    names = arguments.functionals or [name for name in FUNCTIONALS if name in known]
    columns = functional_names(data.inputs, names=names)
    described = clips[["clip", "corpus", "speaker", "sex", "emotion", "label"]]
    with complete(output) as part:
        for start in tqdm(range(0, len(clips), _ROWS), disable=None):
            rows = np.arange(start, min(start + _ROWS, len(clips)))
            values = pd.DataFrame(functionals(data, rows, names=names), columns=columns, index=rows)
            described.iloc[rows].join(values).to_csv(
                part, mode="a", header=start == 0, index=False, float_format="%.6g"
            )


if __name__ == "__main__":
    run_command(main)
