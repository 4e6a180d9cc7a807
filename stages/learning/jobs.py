"""Training jobs: every fold and seed, several at once, each finished once.

A job is one fold and one seed. It runs in one thread, so that its result does not depend on how
many run beside it. What a finished job made waits in a scratch folder, so that an interrupted run
goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from torch import nn
from tqdm import tqdm

from stages.clips.cache import open_caches
from stages.clips.folds import ALL, folds_of
from stages.clips.frames import first_frames
from stages.clips.outputs import complete
from stages.clips.room import check_memory
from stages.clips.settings import bind, processes
from stages.learning.batches import ClipData

log = logging.getLogger(__name__)
#: Of params.yaml: what a job depends on besides its clips, kept in each checkpoint.
SECTIONS = ("audio", "features", "model", "train")


class Job(NamedTuple):
    fold: str
    seed: int

    @property
    def name(self) -> str:
        return f"fold_{self.fold}-seed_{self.seed}"


@dataclass(frozen=True)
class Plan:
    """What all jobs of a run share; goes to worker processes, so it holds paths and settings.

    clips : the labelled clips with columns clip, first, frames, label and one column per fold
    labels : the label set's labels that occur, in its order
    frames : rows of each feature cache
    caches, scratch, logs : folders
    settings : SECTIONS of the parameters
    """

    clips: pd.DataFrame
    labels: list[str]
    frames: int
    caches: Path
    scratch: Path
    logs: Path
    settings: Mapping[str, Any]


def make_plan(
    clips: pd.DataFrame,
    split: pd.DataFrame,
    *,
    labels: list[str],
    caches: Path,
    scratch: Path,
    logs: Path,
    settings: Mapping[str, Any],
) -> Plan:
    """Join the clip table and the split; name scratch and log folders after what is trained.

    Parameters
    ----------
    clips, split : DataFrame
        the whole clip table, whose frames the caches hold; the split table
    labels : list of str
    caches, scratch, logs : Path
        folders
    settings : mapping
        see Plan
    """
    table = clips[["clip", "frames"]].assign(first=first_frames(clips["frames"].to_numpy()))
    table = split.merge(table, on="clip", validate="one_to_one")
    if len(table) != len(split):
        raise ValueError(f"split: {len(split) - len(table)} of its clips are not in the clip table")
    key = hashlib.sha256(json.dumps([settings, labels], sort_keys=True).encode())
    key.update(torch.__version__.encode())
    for part in (clips, split):
        key.update(part.to_csv(index=False).encode())
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        key.update(path.read_bytes())
    name = key.hexdigest()[:16]
    return Plan(
        clips=table,
        labels=labels,
        frames=int(clips["frames"].sum()),
        caches=caches,
        scratch=scratch / name,
        logs=logs / f"{settings['model']['name']}-{name}",
        settings=settings,
    )


def all_jobs(split: pd.DataFrame, seeds: Sequence[int]) -> list[Job]:
    """Every fold with every seed; the job `all` with the first seed, last."""
    folds = [fold for fold in folds_of(split) if fold != ALL]
    return [Job(fold, seed) for seed in seeds for fold in folds] + [Job(ALL, seeds[0])]


def run_jobs(jobs: Sequence[Job], plan: Plan) -> None:
    """Run those jobs that are not finished yet, side by side; results go to the scratch folder.

    Raises
    ------
    ValueError
        what a job raised, with the job's name
    """
    plan.scratch.mkdir(parents=True, exist_ok=True)
    todo = [job for job in jobs if not (plan.scratch / job.name).is_dir()]
    todo.sort(key=lambda job: job.fold != ALL)  # the longest one first, so that none waits for it
    _check_memory(plan, processes(len(todo)))
    if len(todo) < len(jobs):
        log.info("train: %d of %d jobs were finished before", len(jobs) - len(todo), len(jobs))
    ticks = plan.scratch / "epochs"
    ticks.write_bytes(b"")
    with _progress(ticks, total=len(todo) * _epochs(plan)):
        results = Parallel(n_jobs=processes(len(todo)), return_as="generator_unordered")(
            delayed(_run)(job, plan, ticks, main=os.getpid()) for job in todo
        )
        for number, (job, ua) in enumerate(results, start=1):
            validated = "" if math.isnan(ua[-1]) else f", validation UA {ua[-1]:.3f} at the end"
            log.info(
                "train: fold %s, seed %d: %d epochs%s (%d of %d)",
                *(job.fold, job.seed, len(ua), validated, number, len(todo)),
            )


def gather(jobs: Sequence[Job], plan: Plan) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Join the results of finished jobs.

    Returns
    -------
    predictions : DataFrame
        clip, fold, seed, label, p_<label> ...; sorted by clip, seed and fold
    history : DataFrame
        fold, seed, epoch, train_loss, validation_loss, train_ua, validation_ua
    """
    predictions, history = [], []
    for job in jobs:
        folder = plan.scratch / job.name
        rows = json.loads((folder / "history.json").read_text())
        history.append(pd.DataFrame(rows).assign(fold=job.fold, seed=job.seed))
        if job.fold == ALL:
            continue
        table = plan.clips.loc[plan.clips[job.fold] == "test", ["clip", "label"]]
        table = table.assign(fold=int(job.fold), seed=job.seed)
        names = [f"p_{label}" for label in plan.labels]
        probabilities = pd.DataFrame(
            np.load(folder / "probabilities.npy"), columns=names, index=table.index
        )
        predictions.append(table.join(probabilities))
    columns = ["fold", "seed", "epoch"]
    columns += ["train_loss", "validation_loss", "train_ua", "validation_ua"]
    joined = pd.concat(predictions).sort_values(["clip", "seed", "fold"], ignore_index=True)
    return joined, pd.concat(history, ignore_index=True)[columns]


def _check_memory(plan: Plan, number: int) -> None:
    """Refuse features whose values no memory holds, in so many processes at once."""
    data = _open(plan)
    need = number * _learner(plan, Path(), Path(), lambda: None).least_memory(data)
    dimensions = ", ".join(f"{name} {size}" for name, size in data.inputs.items())
    check_memory(
        f"train: got features of {dimensions} dimensions, want fewer, or smaller train.batch_size "
        f"and train.crop_s: fitting in {number} processes",
        need=need,
    )


def _epochs(plan: Plan) -> int:
    return plan.settings["train"]["epochs"] if _is_network(plan) else 1


def _is_network(plan: Plan) -> bool:
    return issubclass(bind(plan.settings["model"]["network"]).func, nn.Module)


def _open(plan: Plan) -> ClipData:
    clips = plan.clips
    return ClipData(
        caches=open_caches(plan.caches, names=list(plan.settings["features"]), frames=plan.frames),
        first=clips["first"].to_numpy(),
        frames=clips["frames"].to_numpy(),
        labels=clips["label"].map(plan.labels.index).to_numpy(),
        n_classes=len(plan.labels),
    )


def _learner(plan: Plan, folder: Path, logs: Path, on_epoch: Callable[[], None]) -> Any:
    """What the model's settings describe, with `fit`, `predict`, `state` and `least_memory`."""
    build = bind(plan.settings["model"]["network"])
    if not _is_network(plan):
        return build()
    return bind(plan.settings["train"])(build, folder, logs, on_epoch)


def _run(job: Job, plan: Plan, ticks: Path, *, main: int) -> tuple[Job, list[float]]:
    """One job, in a process of its own: the validation UA of its epochs."""
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    data = _open(plan)
    parts = {
        part: np.flatnonzero(plan.clips[job.fold] == part)
        for part in ("train", "validation", "test")
    }
    with complete(plan.scratch / job.name) as folder:
        folder.mkdir()
        learner = _learner(
            plan, folder / "checkpoints", plan.logs / job.name, lambda: _tick(ticks, 1, main=main)
        )
        try:
            history = learner.fit(
                data, train=parts["train"], validation=parts["validation"], seed=job.seed
            )
        except ValueError as error:
            raise ValueError(f"fold {job.fold}, seed {job.seed}: {error}") from error
        _tick(ticks, _epochs(plan) - (len(history) if _is_network(plan) else 0), main=main)
        if len(parts["test"]):
            np.save(folder / "probabilities.npy", learner.predict(data, parts["test"]))
        (folder / "history.json").write_text(json.dumps(history))
        checkpoint = {
            **plan.settings,
            "labels": plan.labels,
            "inputs": data.inputs,
            "fold": job.fold,
            "seed": job.seed,
            "state": learner.state(),
        }
        torch.save(checkpoint, folder / "model.pt")
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return job, [row["validation_ua"] for row in history]


def _tick(ticks: Path, number: int, *, main: int) -> None:
    """Tell the main process of finished epochs: a byte each, which no two processes can mix up."""
    if main not in (os.getpid(), os.getppid()):
        raise SystemExit("train: the main process has ended")  # killed: nobody waits for the rest
    with open(ticks, "ab") as file:
        file.write(b"." * number)


@contextmanager
def _progress(ticks: Path, *, total: int) -> Iterator[None]:
    """Show finished epochs of all jobs and the time left, on a terminal."""
    done = threading.Event()
    with tqdm(total=total, desc="train", unit="epoch", disable=None) as bar:

        def watch() -> None:
            while not done.wait(1):
                bar.update(ticks.stat().st_size - bar.n)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
