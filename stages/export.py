"""Stage `export`: the network trained on every fold, as ONNX files that run on any machine.

python -m stages.export
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from stages.audio.store import open_audio
from stages.clips.clip_table import read_clips
from stages.running.entry import run_command
from stages.running.outputs import complete, replace_files
from stages.settings.loading import load_params
from stages.splits.split_table import read_split

FOLDER = Path("models/export")
NOTHING = "Nothing was exported: the setting `export` is false.\n"
TEXTS = {"clip": "str", "label": "str"}  # whatever they say, such as NA
FIGURES = ("protocol", "ua", "ua_low", "ua_high", "n_clips", "n_speakers")


def main() -> None:
    """Write models/export and reports/export.json; without a model if `export` is false."""
    files, report = {"README.md": NOTHING.encode()}, {"exported": False}
    if (params := load_params()).export:
        from stages.exporting.conversion import export  # takes seconds to import

        metrics = json.loads(Path("reports/metrics.json").read_text(encoding="utf-8"))
        exported = export(
            folder=FOLDER,
            checkpoints=Path("models/folds"),
            seed=params.seeds[0],
            clips=read_clips("data/merged/clips.csv"),
            predictions=pd.read_csv("data/predictions.csv", dtype=TEXTS, keep_default_na=False),
            split=read_split("data/split.csv"),
            audio=open_audio("data/merged/audio.npy"),
            metadata={
                "model": params.model.name,
                "corpora": list(params.corpora),
                "licences": {
                    name: corpus.download.licence.name if corpus.download else "that of its owner"
                    for name, corpus in params.corpora.items()
                },
                "speech": "synthetic" if params.data.name == "demo" else "real",
                **{name: metrics[name] for name in FIGURES},
            },
        )
        files, report = exported.files, exported.report
    replace_files(FOLDER, files)
    with complete(Path("reports/export.json")) as part:
        part.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
