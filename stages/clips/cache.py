"""A feature cache: one frame-level feature of all clips, computed once, read by memory map."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from tqdm import tqdm

from stages.clips.audio import FULL_SCALE
from stages.clips.frames import first_frames
from stages.clips.outputs import complete
from stages.clips.room import check_disk, check_memory, free_memory, peak_memory
from stages.clips.settings import processes
from stages.clips.store import open_audio

log = logging.getLogger(__name__)
_TASK_S = 600  # speech per task
_START_S = 10  # processes are started for more work than this: starting them takes seconds


def write_cache(
    path: Path,
    *,
    feature: Callable[[torch.Tensor], torch.Tensor],
    clips: pd.DataFrame,
    audio: Path,
    sample_rate: int,
) -> None:
    """Compute one feature of every clip into one matrix.

    Parameters
    ----------
    path : Path
        the .npy file to write: float16 [frames of all clips, dimensions], in the order of `clips`
    feature : waveform [samples] -> [dimensions, frames]
        its settings already bound
    clips : DataFrame
        a clip table
    audio : Path
        the audio store that the table's `start` and `samples` point into
    sample_rate : int
        of the store, in Hz; only to size the tasks

    Raises
    ------
    ValueError
        for a bad setting, and if the disk does not hold the cache or memory not what the longest
        clip takes, before anything is written; naming the clip whose frames do not fit the table
        or are not finite in float16
    """
    firsts = first_frames(clips["frames"].to_numpy())
    shape = (int(clips["frames"].sum()), _dimensions(feature, clips, name=path.stem))
    task = clips["samples"].cumsum().to_numpy() // (sample_rate * _TASK_S)
    cuts = [0, *(np.flatnonzero(np.diff(task)) + 1), len(clips)]
    columns = clips[["clip", "start", "samples", "frames"]].assign(first=firsts)
    with complete(path) as part:
        _check_disk(feature, shape=shape, name=path.stem, folder=part.parent)
        np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=shape).flush()
        tasks = [
            delayed(_fill)(part, audio, columns.iloc[start:end], feature)
            for start, end in zip(cuts, cuts[1:], strict=False)
        ]
        with tqdm(total=len(clips), desc=path.stem, unit="clip", disable=None) as progress:
            begun = time.perf_counter()
            progress.update(_fill(part, audio, columns.iloc[: cuts[1]], feature))
            left_s = (time.perf_counter() - begun) * (len(tasks) - 1)
            jobs = _workers(len(tasks) - 1) if left_s > _START_S else 1
            for number in Parallel(n_jobs=jobs, return_as="generator_unordered")(tasks[1:]):
                progress.update(number)
    log.info("%s: %d frames of %d dimensions", path.stem, *shape)


def _dimensions(
    feature: Callable[[torch.Tensor], torch.Tensor], clips: pd.DataFrame, *, name: str
) -> int:
    """Dimensions of a feature, from silence as long as the longest clip: none takes more memory."""
    longest = clips.loc[clips["samples"].idxmax()]
    samples = max(1, int(longest["samples"]))
    try:
        check_memory(
            f"{longest['clip']}: got {samples} samples, want a shorter clip: it alone",
            need=2 * samples * np.dtype(np.float32).itemsize,  # before and after scaling
        )
        return feature(torch.zeros(samples)).shape[-2]
    except (ValueError, RuntimeError, MemoryError) as error:  # torch's own when memory ends
        raise ValueError(f"features.{name}: {error}") from error


def _check_disk(
    feature: Callable[[torch.Tensor], torch.Tensor],
    *,
    shape: tuple[int, int],
    name: str,
    folder: Path,
) -> None:
    """Refuse a cache that the disk does not hold: written to a map, it would kill the process."""
    settings = ", ".join(f"{k} {v}" for k, v in getattr(feature, "keywords", {}).items())
    check_disk(
        f"features.{name}: got {shape[0]} frames of {shape[1]} dimensions ({settings}), want fewer "
        "clips, a longer hop_length or settings with fewer dimensions: the cache",
        need=shape[0] * shape[1] * np.dtype(np.float16).itemsize,
        folder=folder,
    )


def _workers(tasks: int) -> int:
    """Processes to use: each may grow as this one has, which had the longest clip."""
    return max(1, min(processes(tasks), free_memory() // peak_memory()))


def _fill(
    path: Path, audio: Path, clips: pd.DataFrame, feature: Callable[[torch.Tensor], torch.Tensor]
) -> int:
    """Write the frames of some clips into their rows of the cache; how many clips that were."""
    torch.set_num_threads(1)
    samples = open_audio(audio)
    cache = np.lib.format.open_memmap(path, mode="r+")
    for row in clips[clips["frames"] > 0].itertuples():
        waveform = samples[row.start : row.start + row.samples].astype(np.float32) / FULL_SCALE
        frames = feature(torch.from_numpy(waveform)).T.to(torch.float16).numpy()
        if len(frames) != row.frames:
            raise ValueError(f"{row.clip}: got {len(frames)} frames, want {row.frames}")
        if not np.isfinite(frames).all():
            raise ValueError(f"{row.clip}: the feature is not finite in float16")
        cache[row.first : row.first + row.frames] = frames
    cache.flush()
    return len(clips)


def open_caches(folder: Path, *, names: Sequence[str], frames: int) -> Mapping[str, np.ndarray]:
    """Map the caches of some features into memory.

    Parameters
    ----------
    folder : Path
        holds <name>.npy
    names : sequence of str
        the features wanted; other files beside them are not looked at
    frames : int
        rows that each must have: the frames of all clips of the table

    Returns
    -------
    dict of float16 [frames, dimensions] by name

    Raises
    ------
    ValueError
        naming the file whose rows do not fit the clip table
    """
    caches = {}
    for name in names:
        path = Path(folder, f"{name}.npy")
        cache = np.load(path, mmap_mode="r").view(np.ndarray)
        if len(cache) != frames:
            raise ValueError(f"{path}: got {len(cache)} frames, want {frames} of the clip table")
        caches[name] = cache
    return caches
