"""Training jobs: every fold and seed, several at once, each finished once.

A job is one fold and one seed. It runs in one thread, so its result does not depend on the number
of jobs that run side by side. The results of a finished job wait in a scratch folder, so that an
interrupted run resumes.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch

from stages.learning.batches import ClipData
from stages.learning.checkpoints import Job, check_start
from stages.learning.learner import Learner, build_learner, described, is_network
from stages.learning.progress import epochs_done, progress_bar, tick
from stages.learning.training_plan import Plan
from stages.parallel.workers import cluster, spread
from stages.running.outputs import complete
from stages.running.resources import check_disk, check_memory, full_disk_named
from stages.settings.loading import bind, processes
from stages.splits.split_table import ALL, folds_of

log = logging.getLogger(__name__)


def all_jobs(split: pd.DataFrame, seeds: Sequence[int]) -> list[Job]:
    """List every fold with every seed, and last the job `all` with the first seed."""
    folds = [fold for fold in folds_of(split) if fold != ALL]
    return [Job(fold, seed) for seed in seeds for fold in folds] + [Job(ALL, seeds[0])]


def run_jobs(jobs: Sequence[Job], plan: Plan) -> None:
    """Run the jobs that are not finished yet, side by side; results go to the scratch folder.

    Raises
    ------
    ValueError
        naming the job that failed, the setting that cannot be used, or what a warm start does not
        fit; for a cluster see stages.parallel.workers.cluster
    FileNotFoundError
        if the checkpoint of a warm start is missing
    """
    learner, data = build_learner(plan.settings), plan.open_data()
    if learner.warm_start is not None:
        check_start(
            learner.warm_start,
            settings=plan.settings,
            labels=plan.labels,
            inputs=data.inputs,
            held_out=_held_out(jobs, plan.clips),
        )
    # Listed at once: a shared folder denies for a while that a file exists which was asked for
    # before it was written.
    finished = {path.name for path in plan.scratch.glob("*")}
    todo = [job for job in jobs if job.name not in finished]
    todo.sort(key=lambda job: job.fold != ALL)  # the longest job first
    _check_memory(learner, data, processes(len(todo)))
    check_disk(
        f"{plan.scratch}: {len(todo)} models and what they predict of {len(plan.clips)} clips",
        need=len(todo) * (_checkpoint_size(plan, data) + 8 * len(plan.clips) * data.n_classes),
        folder=plan.scratch,
    )
    plan.scratch.mkdir(parents=True, exist_ok=True)
    if len(todo) < len(jobs):
        log.info("train: %d of %d jobs were finished before", len(jobs) - len(todo), len(jobs))
    with (
        cluster() as client,
        TemporaryDirectory(dir=plan.scratch) as folder,
        progress_bar(Path(folder), total=len(todo) * learner.epochs),
    ):
        main = os.getpid() if client is None else None
        calls = [partial(_run, job, plan, Path(folder, job.name), main=main) for job in todo]
        results = spread(calls, processes=processes(len(todo)), client=client)
        for number, (job, ua) in enumerate(results, start=1):
            validated = "" if math.isnan(ua[-1]) else f", validation UA {ua[-1]:.3f} at the end"
            log.info(
                "train: fold %s, seed %d: %d epochs%s (%d of %d)",
                *(job.fold, job.seed, len(ua), validated, number, len(todo)),
            )


def _held_out(jobs: Sequence[Job], clips: pd.DataFrame) -> dict[str, pd.Series]:
    """Clips by fold that figures are about: test clips, or in tuning, without these, validation."""
    held_out = {}
    for fold in {job.fold: None for job in jobs if job.fold != ALL}:
        tested = (clips[fold] == "test").any()
        held_out[fold] = clips.loc[clips[fold] == ("test" if tested else "validation"), "clip"]
    return held_out


def _check_memory(learner: Learner, data: ClipData, number: int) -> None:
    """Refuse features that exceed the memory in so many processes."""
    dimensions = ", ".join(f"{name} {size}" for name, size in data.inputs.items())
    check_memory(
        f"train: got features of {dimensions} dimensions, want fewer, or smaller train.batch_size "
        f"and train.crop_s: fitting in {number} processes",
        need=number * learner.least_memory(data),
    )


def _checkpoint_size(plan: Plan, data: ClipData) -> int:
    """Bytes of a network's weights; those of a model of another kind are not counted."""
    settings, size = described(plan.settings), 0
    if not is_network(settings["model"]):
        return size
    # A setting that a network refuses is reported by its job.
    with torch.random.fork_rng(devices=[]), suppress(KeyError, ValueError):
        build = bind(settings["model"]["network"], "networks")
        network = build({name: data.inputs[name] for name in settings["features"]}, data.n_classes)
        size = sum(weight.nbytes for weight in network.state_dict().values())
    return size


def _run(job: Job, plan: Plan, ticks: Path, *, main: int | None) -> tuple[Job, list[float]]:
    """Run one job in a process of its own and return the validation UA of its epochs."""
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    ticks.write_bytes(b"")
    data, learner = plan.open_data(), build_learner(plan.settings)
    told = partial(tick, ticks, main=main)
    # All but the last part of an epoch, as its validation is still to come.
    learner.on_share = lambda share: told(epochs_done(ticks) + min(share, 0.95))
    parts = {
        part: np.flatnonzero(plan.clips[job.fold] == part)
        for part in ("train", "validation", "test")
    }
    data = dataclasses.replace(data, enrolment=plan.enrolment(job.fold))
    # Each attempt has a folder of its own: a cluster gives a job to a second worker if it takes the
    # first for lost, and both may finish.
    with (
        _full_gpu_named(job),
        TemporaryDirectory(dir=plan.scratch, ignore_cleanup_errors=True) as attempt,
        full_disk_named(plan.scratch),
    ):
        folder = Path(attempt, job.name)
        folder.mkdir()
        try:
            history = learner.fit(
                data,
                train=parts["train"],
                validation=parts["validation"],
                seed=job.seed,
                logs=plan.logs / job.name,
                on_epoch=lambda: told(epochs_done(ticks) + 1),
            )
        except ValueError as error:
            kept = _rescue(job, plan, learner, inputs=data.inputs)
            raise ValueError(f"fold {job.fold}, seed {job.seed}: {error}{kept}") from error
        # Those that early stopping saved.
        told(learner.epochs)
        if len(parts["test"]):
            np.save(folder / "probabilities.npy", learner.predict(data, parts["test"]))
        if len(parts["validation"]) and not learner.fits_validation:
            np.save(folder / "validation.npy", learner.predict(data, parts["validation"]))
        (folder / "history.json").write_text(json.dumps(history))
        torch.save(_checkpoint(job, plan, learner, inputs=data.inputs), folder / "model.pt")
        if not (plan.scratch / job.name).is_dir():
            folder.rename(plan.scratch / job.name)
    return job, [row["validation_ua"] for row in history]


@contextmanager
def _full_gpu_named(job: Job) -> Iterator[None]:
    """Explain a full GPU: how much memory jobs side by side take shows only as they run."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ValueError(
            f"fold {job.fold}, seed {job.seed}: the GPU's memory is full; want fewer jobs side by "
            "side, such as LOKY_MAX_CPU_COUNT=2 in the environment, or a smaller train.batch_size"
        ) from error


def _checkpoint(
    job: Job, plan: Plan, learner: Learner, *, inputs: Mapping[str, int]
) -> dict[str, Any]:
    """Collect all that is needed to use a trained model, and the clips that it was trained on.

    They include the validation clips, which may have chosen the epoch that was kept.
    """
    settings = described(plan.settings)
    seen = plan.clips[job.fold].isin(["train", "validation"])
    return {
        **settings,
        "labels": plan.labels,
        "inputs": {name: inputs[name] for name in settings["features"]},
        "fold": job.fold,
        "seed": job.seed,
        "seen": plan.clips.loc[seen, "clip"].tolist(),
        "state": learner.state(),
    }


def _rescue(job: Job, plan: Plan, learner: Learner, *, inputs: Mapping[str, int]) -> str:
    """Keep the best epoch of a training that failed and say where; "" if there is none."""
    if learner.rescued is None:
        return ""
    path = plan.scratch / f"{job.name}-epoch_{learner.rescued}.pt"
    with complete(path) as part:
        torch.save(_checkpoint(job, plan, learner, inputs=inputs), part)
    return f"; epoch {learner.rescued}, the best one before, is kept in {path}"
