"""A feature cache: one frame-level feature of all clips, computed once."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from numbers import Integral, Real
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from stages.audio.frames import first_frames
from stages.audio.store import FULL_SCALE, open_audio
from stages.parallel.workers import cluster, spread
from stages.running.outputs import complete
from stages.running.resources import check_disk, check_memory, free_memory, peak_memory
from stages.settings.loading import processes

log = logging.getLogger(__name__)
DEVICE = "INFLECT_DEVICE"
_FIRST_S = 30  # speech of the first task, which tells how long the others take
_TASK_S = 300  # most speech of a task: its frames are in memory
_WORK_S = 5  # what a task is meant to take: each moves the progress bar
_START_S = 10  # workers are started for more work than this: starting them takes seconds
_THREADS_S = 0.001  # threads do where a clip takes longer: the interpreter's share of it is small
# Annotation of a setting -> what it may be; and settings that say how long a window is, in samples.
_KINDS = {"int": (Integral, "a whole number"), "float": (Real, "a number")}
_WINDOWS = ("n_fft", "win_length", "frame_length")


class _Clip(NamedTuple):
    """Where the samples and frames of a clip are; its name comes first."""

    clip: str
    start: int
    samples: int
    frames: int
    first: int


def write_cache(
    path: Path,
    *,
    feature: Callable[[torch.Tensor], torch.Tensor],
    clips: pd.DataFrame,
    audio: Path,
    sample_rate: int,
) -> None:
    """Compute one feature of every clip into one matrix.

    Runs on all processors, on a cluster (see stages.parallel.workers), or on the device that the
    environment names (`INFLECT_DEVICE=cuda`).

    Parameters
    ----------
    path : Path
        the .npy file to write, float16 [frames of all clips, dimensions] in the order of `clips`
    feature : waveform [samples] -> [dimensions, frames]
        with its settings bound
    clips : DataFrame
        a clip table
    audio : Path
        the audio store that the table's `start` and `samples` point into
    sample_rate : int
        of the store, in Hz; it only sizes the tasks

    Raises
    ------
    ValueError
        before anything is written, for a bad setting (such as a window longer than any clip), a
        missing device, a cluster that does not answer, a table without usable clips, or too little
        disk or memory; later, naming the clip, if the store does not hold it, or if its frames do
        not fit the table or are not finite in float16
    """
    if not clips["frames"].any():
        raise ValueError(f"features.{path.stem}: got {len(clips)} clips, none usable, want one")
    device = _device()
    dimensions = _dimensions(feature, clips, name=path.stem, device=device)
    shape = (int(clips["frames"].sum()), dimensions)
    table = clips.assign(first=first_frames(clips["frames"].to_numpy()))
    table = table.loc[table["frames"] > 0, list(_Clip._fields)]
    todo = [_Clip(*row) for row in table.itertuples(index=False)]
    compute = partial(_compute, audio=audio, feature=feature, dimensions=dimensions, device=device)
    with cluster() as client, complete(path) as part:
        _check_disk(feature, shape=shape, name=path.stem, folder=path.parent)
        # Created as a map but written as a file, because pages written to a map count as memory.
        header = np.lib.format.open_memmap(part, "w+", dtype=np.float16, shape=shape).offset
        begun = time.perf_counter()
        first, values = compute(next(_tasks(todo, most=_FIRST_S * sample_rate)))
        took_s = time.perf_counter() - begun
        with (
            open(part, "r+b") as file,
            # The first clips also start libraries, so they would mislead about the time left.
            tqdm(
                total=len(todo), initial=len(first), desc=path.stem, unit="clip", disable=None
            ) as progress,
        ):

            def write(clips: Sequence[_Clip], values: np.ndarray) -> None:
                file.seek(header + clips[0].first * values[0].nbytes)
                file.write(values.data)

            write(first, values)
            each_s = took_s / sum(clip.samples for clip in first)
            rest = todo[len(first) :]
            here = device.type == "cpu"
            many = here and each_s * sum(clip.samples for clip in rest) > _START_S
            # Threads start at once, and share the memory of torch and of a model.
            threads = here and took_s / len(first) > _THREADS_S
            most = min(_WORK_S / each_s, _TASK_S * sample_rate)
            calls = [partial(compute, task) for task in _tasks(rest, most=most)]
            for task, values in spread(
                calls,
                processes=_workers(len(calls)) if many or threads else 1,
                client=client if many else None,
                threads=threads,
            ):
                write(task, values)
                progress.update(len(task))
    log.info("%s: %d frames of %d dimensions", path.stem, *shape)


def _device() -> torch.device:
    """Device that computes features: the CPU unless the environment names another.

    It is not a parameter, as it changes results by no more than rounding.
    """
    name = os.environ.get(DEVICE) or "cpu"
    try:
        torch.zeros(1, device=name).cpu()  # torch may know a name without having the device
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:  # torch raises either for a missing device
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{DEVICE}: got {name}, want cpu or a device that torch can use here: {reason}"
        ) from error


def _dimensions(
    feature: Callable[[torch.Tensor], torch.Tensor],
    clips: pd.DataFrame,
    *,
    name: str,
    device: torch.device,
) -> int:
    """Dimensions of a feature, found on silence as long as the longest clip."""
    longest = clips.loc[clips["samples"].idxmax()]
    samples = max(1, int(longest["samples"]))
    try:
        check_memory(
            f"{longest['clip']}: got {samples} samples, want a shorter clip: it alone",
            need=2 * samples * np.dtype(np.float32).itemsize,  # before and after scaling
        )
        _check_kinds(feature)
        _check_windows(feature, longest=samples)
        return feature(torch.zeros(samples, device=device)).shape[-2]
    except (ValueError, RuntimeError, MemoryError) as error:
        reason = str(error)
        # torch raises a RuntimeError, with one text on a CPU and another on a GPU.
        ran_out = "allocate memory" in reason or "out of memory" in reason
        if ran_out or isinstance(error, MemoryError):
            reason = (
                f"got {samples} samples of {longest['clip']}, the longest clip, want fewer, a "
                "shorter window or fewer dimensions: memory ran out"
            )
        raise ValueError(f"features.{name}: {reason}") from error


def _check_kinds(feature: Callable) -> None:
    """Refuse a setting that is annotated as a number, or a number or None, and is neither."""
    kinds = getattr(getattr(feature, "func", None), "__annotations__", {})
    for key, value in getattr(feature, "keywords", {}).items():
        kind, _, other = str(kinds.get(key)).partition(" | ")
        if kind not in _KINDS or other not in ("", "None") or (value is None and other):
            continue
        known, wanted = _KINDS[kind]
        if isinstance(value, bool) or not isinstance(value, known):
            raise ValueError(f"{key}: got {value}, want {wanted}")


def _check_windows(feature: Callable, *, longest: int) -> None:
    """Refuse a window that is longer than any clip, as it would hold mostly zeros."""
    for key, value in getattr(feature, "keywords", {}).items():
        if key in _WINDOWS and value > longest:
            raise ValueError(
                f"{key}: got {value}, want at most {longest}: the samples of the longest clip"
            )


def _check_disk(
    feature: Callable[[torch.Tensor], torch.Tensor],
    *,
    shape: tuple[int, int],
    name: str,
    folder: Path,
) -> None:
    """Refuse a cache that the disk does not hold."""
    settings = ", ".join(f"{k} {v}" for k, v in getattr(feature, "keywords", {}).items())
    check_disk(
        f"features.{name}: got {shape[0]} frames of {shape[1]} dimensions ({settings}), want fewer "
        "clips, a longer hop_length or settings with fewer dimensions: the cache",
        need=shape[0] * shape[1] * np.dtype(np.float16).itemsize,
        folder=folder,
    )


def _workers(tasks: int) -> int:
    """Number of processes, each of which may grow as large as this one has."""
    return max(1, min(processes(tasks), free_memory() // peak_memory()))


def _tasks(clips: Sequence[_Clip], *, most: float) -> Iterator[list[_Clip]]:
    """Group the clips, in order, into tasks of about `most` samples, or of one longer clip."""
    ends = np.cumsum([clip.samples for clip in clips])
    for _, task in groupby(zip(ends // most, clips, strict=True), key=itemgetter(0)):
        yield [clip for _, clip in task]


def _compute(
    clips: Sequence[_Clip],
    *,
    audio: Path,
    feature: Callable[[torch.Tensor], torch.Tensor],
    dimensions: int,
    device: torch.device,
) -> tuple[Sequence[_Clip], np.ndarray]:
    """Compute neighbouring clips: float16 [frames of all, dimensions], with the clips."""
    torch.set_num_threads(1)
    samples = open_audio(audio)
    # One buffer for all clips, as allocating takes longer than scaling.
    waveform = np.empty(max(clip.samples for clip in clips), np.float32)
    values = torch.empty((sum(clip.frames for clip in clips), dimensions), dtype=torch.float16)
    scale, begin = np.float32(FULL_SCALE), clips[0].first
    with torch.no_grad():
        for clip in clips:
            own, stored = waveform[: clip.samples], samples[clip.start : clip.start + clip.samples]
            if len(stored) != clip.samples:
                raise ValueError(
                    f"{clip.clip}: got {len(stored)} samples in {audio}, want {clip.samples}"
                )
            np.divide(stored, scale, out=own)
            frames = feature(torch.from_numpy(own).to(device))  # [dimensions, frames]
            if frames.shape[-1] != clip.frames:
                raise ValueError(f"{clip.clip}: got {frames.shape[-1]} frames, want {clip.frames}")
            values[clip.first - begin :][: clip.frames] = frames.T
    if not values.abs().max().isfinite():  # the maximum passes NaN on
        finite = [part.isfinite().all() for part in values.split([clip.frames for clip in clips])]
        bad = clips[finite.index(False)].clip
        raise ValueError(f"{bad}: the feature is not finite in float16")
    return clips, values.numpy()
