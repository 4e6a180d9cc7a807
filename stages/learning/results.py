"""Tables of what finished training jobs have predicted and how their training went."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from stages.learning.checkpoints import Job
from stages.learning.training_plan import Plan
from stages.splits.split_table import ALL


def gather(jobs: Sequence[Job], plan: Plan) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Join the results of finished jobs.

    Returns
    -------
    predictions : DataFrame
        clip, label, fold, seed, p_<label> ... of the test clips; sorted by clip, seed and fold
    history : DataFrame
        fold, seed, epoch, train_loss, validation_loss, train_ua, validation_ua
    """
    history = []
    for job in jobs:
        rows = json.loads((plan.scratch / job.name / "history.json").read_text())
        history.append(pd.DataFrame(rows).assign(fold=job.fold, seed=job.seed))
    columns = ["fold", "seed", "epoch"]
    columns += ["train_loss", "validation_loss", "train_ua", "validation_ua"]
    predictions = _joined(jobs, plan, part="test", file="probabilities.npy")
    return predictions, pd.concat(history, ignore_index=True)[columns]


def gather_validation(jobs: Sequence[Job], plan: Plan) -> pd.DataFrame:
    """Join the predictions that finished jobs made of their validation clips.

    There are none where no clip validates, or where the final fit includes the validation clips.
    """
    return _joined(jobs, plan, part="validation", file="validation.npy")


def _joined(jobs: Sequence[Job], plan: Plan, *, part: str, file: str) -> pd.DataFrame:
    """Join the predictions of all jobs but `all`, which holds no clip out."""
    tables = [
        _predictions(job, plan, part=part, file=plan.scratch / job.name / file)
        for job in jobs
        if job.fold != ALL
    ]
    return pd.concat(tables).sort_values(["clip", "seed", "fold"], ignore_index=True)


def _predictions(job: Job, plan: Plan, *, part: str, file: Path) -> pd.DataFrame:
    """Read the probabilities of a job's clips of one part; no row where there is no file."""
    table = plan.clips.loc[plan.clips[job.fold] == part, ["clip", "label"]]
    table = table.assign(fold=int(job.fold), seed=job.seed)
    names = [f"p_{label}" for label in plan.labels]
    if not file.is_file():
        return table.iloc[:0].reindex(columns=[*table, *names])
    return table.join(pd.DataFrame(np.load(file), columns=names, index=table.index))
