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


def voiced(frames: np.ndarray, voice: np.ndarray) -> np.ndarray:
    """Mean, deviation and percentiles over voiced frames, of none over all; last their share."""
    heard = frames[voice] if voice.any() else frames
    return np.concatenate([mean(heard), deviation(heard), percentiles(heard), [voice.mean()]])


#: What a name in conf/model stands for: frames [frames, dimensions] -> vector.
FUNCTIONALS = {f.__name__: f for f in (mean, deviation, slope, percentiles, change)}
_PERCENTILES = ("p5", "p20", "p50", "p80", "p95")
#: What each gives of every dimension; the vector holds all dimensions of the first, then the next.
_VALUES = {
    "mean": ("mean",),
    "deviation": ("deviation",),
    "slope": ("slope",),
    "percentiles": _PERCENTILES,
    "change": ("step_mean", "step_deviation"),
    "voiced": tuple(f"voiced_{value}" for value in ("mean", "deviation", *_PERCENTILES)),
}
# What says which frames are voiced: the second dimension of pitch, its strength, from here on.
_PITCH, _STRENGTH, _VOICED = "pitch", 1, 0.5


def available(inputs: Mapping[str, int]) -> list[str]:
    """Names of the functionals that features of these dimensions have: `voiced` takes a pitch."""
    return [*FUNCTIONALS, *(["voiced"] if inputs.get(_PITCH, 0) > _STRENGTH else [])]


def functional_names(inputs: Mapping[str, int], *, names: Sequence[str]) -> list[str]:
    """Name every value of `functionals`: <feature>_<dimension>_<value>.

    Parameters
    ----------
    inputs : dimensions by feature
    names : sequence of str
        some of `available`

    Raises
    ------
    ValueError
        naming a functional that is not available and those that are
    """
    _check(names, inputs)
    dimensions = [f"{name}_{i}" for name, size in inputs.items() for i in range(size)]
    columns = []
    for name in names:
        columns += [f"{dimension}_{value}" for value in _VALUES[name] for dimension in dimensions]
        columns += [f"{_PITCH}_{_STRENGTH}_voiced_share"] if name == "voiced" else []
    return columns


def functionals(data: ClipData, clips: np.ndarray, *, names: Sequence[str]) -> np.ndarray:
    """Functionals of all features of some clips.

    Parameters
    ----------
    data : ClipData
    clips : int64 [n]
        positions in the data
    names : sequence of str
        some of `available`

    Returns
    -------
    float32 [n, values]

    Raises
    ------
    ValueError
        naming a functional that is not available and those that are
    """
    _check(names, data.inputs)
    result = []
    for clip in clips:
        rows = slice(data.first[clip], data.first[clip] + data.frames[clip])
        frames = np.hstack([cache[rows] for cache in data.caches.values()]).astype(np.float64)
        vectors = [
            voiced(frames, data.caches[_PITCH][rows, _STRENGTH] >= _VOICED)
            if name == "voiced"
            else FUNCTIONALS[name](frames)
            for name in names
        ]
        result.append(np.concatenate(vectors))
    return np.asarray(result, dtype=np.float32)


def _check(names: Sequence[str], inputs: Mapping[str, int]) -> None:
    """Raise a ValueError unless features of these dimensions have these functionals."""
    known = available(inputs)
    if unknown := [name for name in names if name not in known]:
        hint = "" if "voiced" in known else "; voiced takes the feature pitch"
        raise ValueError(f"functionals: got {unknown}, want some of {known}{hint}")
