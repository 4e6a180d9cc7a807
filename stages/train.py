"""Stage `train`: every fold and seed, several at once; predictions of the held-out clips.

python -m stages.train
"""

from __future__ import annotations

import shutil
from pathlib import Path

from omegaconf import OmegaConf

from stages.clips.clip_table import read_clips
from stages.learning.checkpoints import SECTIONS
from stages.learning.jobs import all_jobs, run_jobs
from stages.learning.results import gather, gather_validation
from stages.learning.training_plan import make_plan
from stages.running.entry import run_command
from stages.running.outputs import complete, resumable
from stages.settings.loading import load_params, plain
from stages.splits.labels import label_order
from stages.splits.split_table import read_split


def main() -> None:
    """Write models/folds/, the predictions and reports/training.csv."""
    params = load_params()
    clips, split = read_clips("data/merged/clips.csv"), read_split("data/split.csv")
    plan = make_plan(
        clips,
        split,
        labels=label_order(params.labels.map, split["label"]),
        caches=Path("data/features"),
        scratch=Path("models/unfinished"),
        logs=Path("logs"),
        settings=plain(OmegaConf.masked_copy(params, list(SECTIONS))),
    )
    jobs = all_jobs(split, list(params.seeds))
    with resumable(plan.scratch):
        run_jobs(jobs, plan)
        predictions, history = gather(jobs, plan)
        tables = {"predictions": predictions, "validation": gather_validation(jobs, plan)}
        speakers = clips[["clip", "corpus", "speaker", "sex"]]
        for name, table in tables.items():
            table = speakers.merge(table, on="clip", validate="one_to_many")
            with complete(Path(f"data/{name}.csv")) as part:
                table.to_csv(part, index=False, float_format="%.7f", lineterminator="\n")
        with complete(Path("reports/training.csv")) as part:
            history.to_csv(part, index=False, float_format="%.6f", lineterminator="\n")
        with complete(Path("models/folds")) as part:
            part.mkdir()
            for job in jobs:
                shutil.copyfile(plan.scratch / job.name / "model.pt", part / f"{job.name}.pt")


if __name__ == "__main__":
    run_command(main)
