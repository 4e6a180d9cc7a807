"""Functionals: statistics of a clip's frames, as one vector of fixed size for classical models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from stages.learning.batches import ClipData
from stages.running.checks import check


def mean(frames: np.ndarray) -> np.ndarray:
    """Mean of each dimension."""
    return frames.mean(axis=0)


def deviation(frames: np.ndarray) -> np.ndarray:
    """Standard deviation of each dimension."""
    return frames.std(axis=0)


def slope(frames: np.ndarray) -> np.ndarray:
    """Fit a straight line per dimension; its slope in units per frame, 0 for a single frame."""
    time = np.arange(len(frames)) - (len(frames) - 1) / 2
    return time @ frames / max(float(time @ time), 1.0)


def percentiles(frames: np.ndarray) -> np.ndarray:
    """Percentiles 5, 20, 50, 80 and 95 of each dimension, one after the other."""
    return np.percentile(frames, (5, 20, 50, 80, 95), axis=0).ravel()


def change(frames: np.ndarray) -> np.ndarray:
    """Mean absolute value and standard deviation of the steps between frames; 0 for one frame."""
    steps = np.diff(frames, axis=0)
    if not len(steps):
        steps = np.zeros_like(frames)
    return np.concatenate([np.abs(steps).mean(axis=0), steps.std(axis=0)])


def voiced(frames: np.ndarray, is_voiced: np.ndarray) -> np.ndarray:
    """Mean, deviation and percentiles over the voiced frames, and last the share of these.

    Without voiced frames, over all.
    """
    chosen = frames[is_voiced] if is_voiced.any() else frames
    return np.concatenate(
        [mean(chosen), deviation(chosen), percentiles(chosen), [is_voiced.mean()]]
    )


#: Functionals by their names in conf/model: frames [frames, dimensions] -> vector.
FUNCTIONALS = {f.__name__: f for f in (mean, deviation, slope, percentiles, change)}
_PERCENTILES = ("p5", "p20", "p50", "p80", "p95")
#: Values that each functional has per dimension. The vector holds the first of all dimensions, then
#: the second of all.
_VALUES = {
    "mean": ("mean",),
    "deviation": ("deviation",),
    "slope": ("slope",),
    "percentiles": _PERCENTILES,
    "change": ("step_mean", "step_deviation"),
    "voiced": tuple(f"voiced_{value}" for value in ("mean", "deviation", *_PERCENTILES)),
}
# A frame is voiced where the second dimension of pitch, its strength, reaches this value.
_PITCH, _STRENGTH, _VOICED = "pitch", 1, 0.5


def available(inputs: Mapping[str, int]) -> list[str]:
    """List the functionals that features of these dimensions have; `voiced` needs pitch."""
    return [*FUNCTIONALS, *(["voiced"] if inputs.get(_PITCH, 0) > _STRENGTH else [])]


def functional_names(inputs: Mapping[str, int], *, names: Sequence[str]) -> list[str]:
    """Name every value of `functionals`, as <feature>_<dimension>_<value>.

    Parameters
    ----------
    inputs : dimensions by feature
    names : sequence of str
        some of `available`

    Raises
    ------
    ValueError
        naming the functionals that are not available, and those that are
    """
    _check(names, inputs)
    dimensions = [f"{name}_{i}" for name, size in inputs.items() for i in range(size)]
    columns = []
    for name in names:
        columns += [f"{dimension}_{value}" for value in _VALUES[name] for dimension in dimensions]
        columns += [f"{_PITCH}_{_STRENGTH}_voiced_share"] if name == "voiced" else []
    return columns


def functionals(data: ClipData, clips: np.ndarray, *, names: Sequence[str]) -> np.ndarray:
    """Compute the functionals of all features of some clips.

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
        naming the functionals that are not available, and those that are
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
    """Refuse functionals that features of these dimensions do not have."""
    known = available(inputs)
    unknown = [name for name in names if name not in known]
    hint = "" if "voiced" in known else "; voiced needs the feature pitch"
    check("model.network.functionals", unknown, not unknown, f"some of {known}{hint}")
