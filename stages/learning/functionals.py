"""Functionals: what a clip's frames come to, as one vector of fixed size for classical models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from stages.learning.batches import ClipData


def mean(frames: np.ndarray) -> np.ndarray:
    return frames.mean(axis=0)


def deviation(frames: np.ndarray) -> np.ndarray:
    return frames.std(axis=0)


def slope(frames: np.ndarray) -> np.ndarray:
    """Least-squares slope per dimension, in units per frame; 0 for a single frame."""
    time = np.arange(len(frames)) - (len(frames) - 1) / 2
    return time @ frames / max(float(time @ time), 1.0)


def percentiles(frames: np.ndarray) -> np.ndarray:
    return np.percentile(frames, (5, 20, 50, 80, 95), axis=0).ravel()


def change(frames: np.ndarray) -> np.ndarray:
    """Mean size and deviation of the step from each frame to the next; 0 for a single frame."""
    steps = np.diff(frames, axis=0)
    if not len(steps):
        steps = np.zeros_like(frames)
    return np.concatenate([np.abs(steps).mean(axis=0), steps.std(axis=0)])


#: What a name in conf/model stands for: frames [frames, dimensions] -> vector.
FUNCTIONALS = {f.__name__: f for f in (mean, deviation, slope, percentiles, change)}
#: What each gives of every dimension; the vector holds all dimensions of the first, then the next.
_VALUES = {
    "mean": ("mean",),
    "deviation": ("deviation",),
    "slope": ("slope",),
    "percentiles": ("p5", "p20", "p50", "p80", "p95"),
    "change": ("step_mean", "step_deviation"),
}


def functional_names(inputs: Mapping[str, int], *, names: Sequence[str]) -> list[str]:
    """Name every value of `functionals`: <feature>_<dimension>_<value>.

    Parameters
    ----------
    inputs : dimensions by feature
    names : sequence of str
        of FUNCTIONALS
    """
    dimensions = [f"{name}_{i}" for name, size in inputs.items() for i in range(size)]
    values = [value for name in names for value in _VALUES[name]]
    return [f"{dimension}_{value}" for value in values for dimension in dimensions]


def functionals(data: ClipData, clips: np.ndarray, *, names: Sequence[str]) -> np.ndarray:
    """Functionals of all features of some clips.

    Parameters
    ----------
    data : ClipData
    clips : int64 [n]
        positions in the data
    names : sequence of str
        of FUNCTIONALS

    Returns
    -------
    float32 [n, values]

    Raises
    ------
    ValueError
        naming an unknown functional and those there are
    """
    if unknown := [name for name in names if name not in FUNCTIONALS]:
        raise ValueError(f"functionals: got {unknown}, want some of {list(FUNCTIONALS)}")
    result = []
    for clip in clips:
        rows = slice(data.first[clip], data.first[clip] + data.frames[clip])
        frames = np.hstack([cache[rows] for cache in data.caches.values()]).astype(np.float64)
        result.append(np.concatenate([FUNCTIONALS[name](frames) for name in names]))
    return np.asarray(result, dtype=np.float32)
