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
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from stages.audio.frames import first_frames
from stages.clips.cache import open_caches
from stages.learning.batches import ClipData
from stages.learning.checkpoints import check_start
from stages.running.code import code_key, reached
from stages.running.outputs import complete
from stages.running.resources import check_memory
from stages.running.settings import bind, processes
from stages.running.workers import cluster, spread
from stages.splits.folds import ALL, folds_of

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
    key.update(code_key(reached(["stages.learning.jobs", *_named_modules(settings)])).encode())
    for name in settings["features"]:
        with open(caches / f"{name}.npy", "rb") as file:
            key.update(hashlib.file_digest(file, "sha256").digest())
    start = settings["train"]["warm_start"]
    if start is not None and Path(start).is_file():  # else refused when the jobs begin
        key.update(Path(start).read_bytes())
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


def _named_modules(settings: Mapping[str, Any]) -> set[str]:
    """Modules that the model and the training name, which no import shows.

    The features' own are not among them: their caches are part of the key.
    """
    text = json.dumps([settings["model"], settings["train"]])
    return set(re.findall(r'"_target_": "([\w.]+)\.\w+"', text))


def all_jobs(split: pd.DataFrame, seeds: Sequence[int]) -> list[Job]:
    """Every fold with every seed; the job `all` with the first seed, last."""
    folds = [fold for fold in folds_of(split) if fold != ALL]
    return [Job(fold, seed) for seed in seeds for fold in folds] + [Job(ALL, seeds[0])]


def run_jobs(jobs: Sequence[Job], plan: Plan) -> None:
    """Run those jobs that are not finished yet, side by side; results go to the scratch folder.

    Raises
    ------
    ValueError
        what a job raised, with the job's name; what is wrong with the weights to start from; for a
        cluster see stages.running.workers.cluster
    FileNotFoundError
        if there are no such weights
    """
    _check_start(jobs, plan)
    plan.scratch.mkdir(parents=True, exist_ok=True)
    # Listed and not asked for one by one: a shared folder goes on saying for a while that what was
    # asked for in vain is not there.
    finished = {path.name for path in plan.scratch.iterdir()}
    todo = [job for job in jobs if job.name not in finished]
    todo.sort(key=lambda job: job.fold != ALL)  # the longest one first, so that none waits for it
    _check_memory(plan, processes(len(todo)))
    if len(todo) < len(jobs):
        log.info("train: %d of %d jobs were finished before", len(jobs) - len(todo), len(jobs))
    with (
        cluster() as client,
        TemporaryDirectory(dir=plan.scratch) as folder,
        _progress(Path(folder), total=len(todo) * _epochs(plan)),
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
        predictions.append(_answers(job, plan, part="test", file=folder / "probabilities.npy"))
    columns = ["fold", "seed", "epoch"]
    columns += ["train_loss", "validation_loss", "train_ua", "validation_ua"]
    return _sorted(predictions), pd.concat(history, ignore_index=True)[columns]


def gather_validation(jobs: Sequence[Job], plan: Plan) -> pd.DataFrame:
    """What finished jobs answer for the clips that validated in them; columns as of predictions.

    Has no row where no clip validates, or the model is fitted on its validation clips as well. The
    job `all` has no part in it: it holds nothing out that its probabilities could be judged by.
    """
    tables = [
        _answers(job, plan, part="validation", file=plan.scratch / job.name / "validation.npy")
        for job in jobs
        if job.fold != ALL
    ]
    return _sorted(tables)


def _answers(job: Job, plan: Plan, *, part: str, file: Path) -> pd.DataFrame:
    """Probabilities that a job gives to its clips of one part; no row where there is no file."""
    table = plan.clips.loc[plan.clips[job.fold] == part, ["clip", "label"]]
    table = table.assign(fold=int(job.fold), seed=job.seed)
    names = [f"p_{label}" for label in plan.labels]
    if not file.is_file():
        return table.iloc[:0].reindex(columns=[*table, *names])
    return table.join(pd.DataFrame(np.load(file), columns=names, index=table.index))


def _sorted(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(tables).sort_values(["clip", "seed", "fold"], ignore_index=True)


def _check_start(jobs: Sequence[Job], plan: Plan) -> None:
    """Refuse weights to start from that do not fit, or have heard a clip that a job holds out."""
    start = plan.settings["train"]["warm_start"]
    if start is None or not _is_network(plan):
        return
    held_out = {}
    for fold in {job.fold: None for job in jobs if job.fold != ALL}:
        part = plan.clips[fold]
        # Where nothing is tested, as in tuning, clips that validate are what figures are of.
        judged = part == ("test" if (part == "test").any() else "validation")
        held_out[fold] = plan.clips.loc[judged, "clip"]
    check_start(
        start,
        settings=plan.settings,
        labels=plan.labels,
        inputs=_open(plan).inputs,
        held_out=held_out,
    )


def _check_memory(plan: Plan, number: int) -> None:
    """Refuse features whose values no memory holds, in so many processes at once."""
    data = _open(plan)
    need = number * _learner(plan, Path(), lambda: None).least_memory(data)
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
        names=clips["clip"].tolist(),
    )


def _learner(plan: Plan, logs: Path, on_epoch: Callable[[], None]) -> Any:
    """What the model's settings describe, with `fit`, `predict`, `state` and so on."""
    build = bind(plan.settings["model"]["network"])
    if not _is_network(plan):
        return build()
    return bind(plan.settings["train"])(build, logs, on_epoch)


def _run(job: Job, plan: Plan, ticks: Path, *, main: int | None) -> tuple[Job, list[float]]:
    """One job, in a process of its own: the validation UA of its epochs."""
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    ticks.write_bytes(b"")
    data = _open(plan)
    parts = {
        part: np.flatnonzero(plan.clips[job.fold] == part)
        for part in ("train", "validation", "test")
    }
    # A folder of this attempt's own: a cluster gives a job to a second worker if the first is taken
    # for lost, and both may come to an end.
    with (
        _full_gpu_named(job),
        TemporaryDirectory(dir=plan.scratch, ignore_cleanup_errors=True) as attempt,
    ):
        folder = Path(attempt, job.name)
        folder.mkdir()
        learner = _learner(plan, plan.logs / job.name, lambda: _tick(ticks, 1, main=main))
        try:
            history = learner.fit(
                data, train=parts["train"], validation=parts["validation"], seed=job.seed
            )
        except ValueError as error:
            kept = _rescue(job, plan, learner, inputs=data.inputs) if _is_network(plan) else ""
            raise ValueError(f"fold {job.fold}, seed {job.seed}: {error}{kept}") from error
        _tick(ticks, _epochs(plan) - (len(history) if _is_network(plan) else 0), main=main)
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
    """Say what to do where jobs side by side fill a GPU: how much each takes is seen only then."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ValueError(
            f"fold {job.fold}, seed {job.seed}: the GPU's memory is full; want fewer jobs side by "
            "side, such as LOKY_MAX_CPU_COUNT=2 in the environment, or a smaller train.batch_size"
        ) from error


def _checkpoint(job: Job, plan: Plan, learner: Any, *, inputs: Mapping[str, int]) -> dict:
    """All that is needed to use what was trained, and the clips that it was trained on.

    Those that validate are among them, as they may have chosen what was kept.
    """
    seen = plan.clips[job.fold].isin(["train", "validation"])
    return {
        **plan.settings,
        "labels": plan.labels,
        "inputs": inputs,
        "fold": job.fold,
        "seed": job.seed,
        "seen": plan.clips.loc[seen, "clip"].tolist(),
        "state": learner.state(),
    }


def _rescue(job: Job, plan: Plan, learner: Any, *, inputs: Mapping[str, int]) -> str:
    """Keep the best epoch of a training that stopped; says where, or nothing if there is none."""
    if learner.rescued is None:
        return ""
    path = plan.scratch / f"{job.name}-epoch_{learner.rescued}.pt"
    with complete(path) as part:
        torch.save(_checkpoint(job, plan, learner, inputs=inputs), part)
    return f"; epoch {learner.rescued}, the best one before, is kept in {path}"


def _tick(ticks: Path, number: int, *, main: int | None) -> None:
    """Tell the main process of a job's finished epochs, by a byte each.

    The file's folder is there as long as somebody waits for the job. A main process that is killed
    leaves it, which jobs on the same machine find out by its number.
    """
    if main is not None and main not in (os.getpid(), os.getppid()):
        raise SystemExit("train: the main process has ended")
    with open(ticks, "ab") as file:
        file.write(b"." * number)


@contextmanager
def _progress(ticks: Path, *, total: int) -> Iterator[None]:
    """Show finished epochs of all jobs, a file each, and the time left, on a terminal."""
    done = threading.Event()
    with tqdm(total=total, desc="train", unit="epoch", disable=None) as bar:

        def watch() -> None:
            while not done.wait(1):
                bar.update(sum(file.stat().st_size for file in ticks.iterdir()) - bar.n)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
