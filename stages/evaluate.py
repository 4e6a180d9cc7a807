"""Stage `evaluate`: predictions to metrics with intervals, tables, plots, figures and one page.

python -m stages.evaluate
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from omegaconf import OmegaConf

from stages.audio.store import open_audio
from stages.clips.cache import open_caches
from stages.clips.clip_table import read_clips
from stages.reporting import corpus_facts as corpora
from stages.reporting import page, predictions, report
from stages.reporting import robustness_curves as robustness
from stages.running.outputs import complete
from stages.running.settings import load_params

REPORTS = Path("reports")


def main() -> None:
    """Write reports/: metrics.json, tables/, plots/, figures/, corpora.csv and index.html."""
    settings = OmegaConf.to_container(load_params(), resolve=True)
    clips = read_clips("data/merged/clips.csv")
    known, names, frames = clips["clip"], list(settings["features"]), int(clips["frames"].sum())
    held_out = predictions.read_predictions("data/predictions.csv", known=known)
    found = report.evaluate(
        held_out,
        validation=predictions.read_validation("data/validation.csv", known=known, of=held_out),
        clips=clips,
        store=open_audio("data/merged/audio.npy"),
        caches=open_caches(Path("data/features"), names=names, frames=frames),
        checkpoints=Path("models/folds"),
        training=pd.read_csv(REPORTS / "training.csv", dtype={"fold": "str"}),
        leakage=json.loads((REPORTS / "leakage.json").read_text(encoding="utf-8")),
        robustness=robustness.read_robustness(REPORTS / "robustness.csv"),
        label_sets=corpora.read_label_sets("conf/labels"),
        settings=settings,
    )
    for name, files in found.folders.items():
        with complete(REPORTS / name) as folder:
            folder.mkdir()
            for file, content in files.items():
                (folder / file).write_bytes(content)
    table = found.corpora.table.to_csv(index=False, lineterminator="\n")
    metrics = json.dumps(found.metrics, indent=2, allow_nan=False) + "\n"
    texts = {"corpora.csv": table, "index.html": page.render(found), "metrics.json": metrics}
    for name, text in texts.items():
        with complete(REPORTS / name) as part:
            part.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
