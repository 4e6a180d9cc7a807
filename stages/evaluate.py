"""Stage `evaluate`: predictions to metrics with intervals, tables, plots, figures and one page.

python -m stages.evaluate
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from stages.audio.store import open_audio
from stages.clips.clip_table import read_clips
from stages.clips.feature_files import open_caches
from stages.reporting.degradation_table import read_robustness
from stages.reporting.predictions import read_predictions, read_validation
from stages.running.entry import run_command
from stages.running.outputs import complete
from stages.running.resources import check_disk
from stages.settings.loading import load_params, plain

REPORTS, SIZE = Path("reports"), 6_000_000  # bytes of a usual report


def main() -> None:
    """Write reports/: metrics.json, tables/, plots/, figures/, corpora.csv and index.html."""
    check_disk(f"{REPORTS}: page, figures and tables", need=SIZE, folder=REPORTS)
    settings, clips = plain(load_params()), read_clips("data/merged/clips.csv")
    known, names, frames = clips["clip"], list(settings["features"]), int(clips["frames"].sum())
    predictions = read_predictions("data/predictions.csv", known=known)
    from stages.reporting.report import evaluate  # torch and matplotlib take seconds to import
    from stages.reporting.run import Run
    from stages.reporting.sections.label_sets import read_label_sets

    run = Run(
        predictions=predictions,
        validation=read_validation("data/validation.csv", known=known, predictions=predictions),
        clips=clips,
        store=open_audio("data/merged/audio.npy"),
        caches=open_caches(Path("data/features"), names=names, frames=frames),
        checkpoints=Path("models/folds"),
        training=pd.read_csv(REPORTS / "training.csv", dtype={"fold": "str"}),
        leakage=json.loads((REPORTS / "leakage.json").read_text(encoding="utf-8")),
        robustness=read_robustness(REPORTS / "robustness.csv"),
        label_sets=read_label_sets("conf/labels"),
        settings=settings,
    )
    for name, content in evaluate(run).items():
        with complete(REPORTS / name) as part:
            if isinstance(content, dict):
                part.mkdir()
            for file, data in (content if isinstance(content, dict) else {"": content}).items():
                (part / file).write_bytes(data)


if __name__ == "__main__":
    run_command(main)
