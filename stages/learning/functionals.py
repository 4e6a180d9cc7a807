"""Functionals: statistics of a clip's frames, as one vector of fixed size for classical models.

The set follows that of ComParE (F. Weninger et al., "On the acoustics of emotion in audio: what
speech, music, and sound have in common", Frontiers in Psychology 4, 2013). Clips with the same
number of frames are computed together, in blocks of bounded size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np

from stages.learning.batches import ClipData
from stages.settings.checks import check


class Contours:
    """Values over time, and the statistics that several functionals share.

    Parameters
    ----------
    values : float64 [clips, dimensions, frames]
        at least one frame
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.frames = values.shape[-1]

    @cached_property
    def mean(self) -> np.ndarray:
        """Mean, [clips, dimensions]."""
        return self.values.mean(axis=-1)

    @cached_property
    def centred(self) -> np.ndarray:
        """Values less their mean, [clips, dimensions, frames]."""
        return self.values - self.mean[..., None]

    @cached_property
    def variance(self) -> np.ndarray:
        """Mean squared deviation from the mean, [clips, dimensions]."""
        return np.vecdot(self.centred, self.centred) / self.frames

    @cached_property
    def low(self) -> np.ndarray:
        """Smallest value, [clips, dimensions]."""
        return self.values.min(axis=-1)

    @cached_property
    def range(self) -> np.ndarray:
        """Largest less smallest value, [clips, dimensions]; exactly 0 for a flat contour."""
        return self.values.max(axis=-1) - self.low

    @cached_property
    def above(self) -> np.ndarray:
        """Values less the smallest one, [clips, dimensions, frames]."""
        return self.values - self.low[..., None]

    @cached_property
    def steps(self) -> np.ndarray:
        """Differences between frames, [clips, dimensions, frames - 1]; one 0 for one frame."""
        return np.diff(self.values) if self.frames > 1 else np.zeros_like(self.values)

    @cached_property
    def slope(self) -> np.ndarray:
        """Slope of the straight line fitted to the values, in units per frame; 0 for one frame."""
        return self.along(self.time) / (float(self.time @ self.time) or 1.0)

    @cached_property
    def time(self) -> np.ndarray:
        """Number of each frame, counted from the middle of the clip."""
        return np.arange(self.frames) - (self.frames - 1) / 2

    @cached_property
    def _ascending(self) -> np.ndarray:
        """Sorted values; cached features, of 16 bits, fit into 32, which sort faster than 64."""
        return np.sort(self.values.astype(np.float32))

    def along(self, weights: np.ndarray) -> np.ndarray:
        """Sum of the centred values with a weight for each frame, [clips, dimensions]."""
        return np.vecdot(self.centred, weights)

    def percentile(self, percent: float) -> np.ndarray:
        """Percentile with linear interpolation, [clips, dimensions]."""
        place = percent / 100 * (self.frames - 1)
        number = min(int(place), max(self.frames - 2, 0))
        pair = self._ascending[..., number : number + 2].astype(np.float64)
        return pair[..., 0] + (place - number) * (pair[..., -1] - pair[..., 0])

    def is_above(self, fraction: float) -> np.ndarray:
        """Tell whether a value is above a fraction of the range, [clips, dimensions, frames]."""
        return self.above > fraction * self.range[..., None]


def mean(x: Contours) -> Sequence[np.ndarray]:
    """Mean."""
    return [x.mean]


def deviation(x: Contours) -> Sequence[np.ndarray]:
    """Standard deviation."""
    return [np.sqrt(x.variance)]


def slope(x: Contours) -> Sequence[np.ndarray]:
    """Slope of a straight line fitted to the contour, in units per frame; 0 for a single frame."""
    return [x.slope]


def percentiles(x: Contours) -> Sequence[np.ndarray]:
    """Percentiles 5, 20, 50, 80 and 95."""
    return [x.percentile(percent) for percent in (5, 20, 50, 80, 95)]


def change(x: Contours) -> Sequence[np.ndarray]:
    """Mean absolute value and standard deviation of the steps between frames; 0 for one frame."""
    return [np.abs(x.steps).mean(axis=-1), x.steps.std(axis=-1)]


def quartiles(x: Contours) -> Sequence[np.ndarray]:
    """Percentiles 1, 25, 75 and 99; the ranges between the quartiles, and from 1 to 99."""
    p1, p25, p50, p75, p99 = (x.percentile(percent) for percent in (1, 25, 50, 75, 99))
    return [p1, p25, p75, p99, p50 - p25, p75 - p50, p75 - p25, p99 - p1]


def moments(x: Contours) -> Sequence[np.ndarray]:
    """Skewness and kurtosis (3 for a normal distribution); 0 for a flat contour."""
    square = np.square(x.centred)
    variance = np.where(x.range > 0, x.variance, 0)
    return [
        _ratio(np.vecdot(square, values) / x.frames, variance**power)
        for values, power in ((x.centred, 1.5), (square, 2))
    ]


def extremes(x: Contours) -> Sequence[np.ndarray]:
    """Range, relative positions of maximum and minimum (0 to 1), and maximum above the mean."""
    last = max(x.frames - 1, 1)
    highest, lowest = x.values.argmax(axis=-1) / last, x.values.argmin(axis=-1) / last
    return [x.range, highest, lowest, x.low + x.range - x.mean]


def regression(x: Contours) -> Sequence[np.ndarray]:
    """Fit a straight line and a parabola over relative time, 0 to 1.

    Start of the line and its mean squared error; coefficients of the parabola, that of the square
    first, and its mean squared error. The parabola is the line for fewer than three frames.
    """
    time = np.linspace(0, 1, x.frames)
    arch = time**2 - time
    arch -= arch.mean()  # orthogonal to every straight line
    size = float(arch @ arch) if x.frames > 2 else 0.0
    bend = x.along(arch) / size if size else np.zeros_like(x.mean)
    rise = x.slope * (x.frames - 1)
    start = x.mean - rise / 2
    line_error = np.maximum(x.variance - x.slope**2 * (x.time @ x.time) / x.frames, 0)
    error = np.maximum(line_error - bend**2 * size / x.frames, 0)
    return [start, line_error, bend, rise - bend, start + bend * arch[0], error]


def peaks(x: Contours) -> Sequence[np.ndarray]:
    """Describe the peaks: frames above the mean that rise from the last and do not rise further.

    Peaks per frame; mean and deviation of the distances between neighbours, in frames; mean and
    deviation of the heights above the mean. 0 where there is no peak, or no neighbour.
    """
    is_peak = np.zeros(x.values.shape, dtype=bool)
    if x.frames > 2:
        before, after = x.steps[..., :-1], x.steps[..., 1:]
        is_peak[..., 1:-1] = (before > 0) & (after <= 0) & (x.centred[..., 1:-1] > 0)
    place = np.flatnonzero(is_peak)
    contour = place // x.frames
    heights = _grouped(x.centred.ravel()[place], contour, x.mean.shape)
    is_next = contour[1:] == contour[:-1]
    distances = _grouped(np.diff(place)[is_next], contour[1:][is_next], x.mean.shape)
    return [is_peak.sum(axis=-1) / x.frames, *distances, *heights]


def times(x: Contours) -> Sequence[np.ndarray]:
    """Share of frames above 25, 50, 75 and 90 % of the range; of rising steps; of left bends."""
    rising, bends_left = x.steps > 0, x.steps[..., 1:] > x.steps[..., :-1]
    marks = [*(x.is_above(fraction) for fraction in (0.25, 0.5, 0.75, 0.9)), rising, bends_left]
    return [mark.sum(axis=-1) / max(mark.shape[-1], 1) for mark in marks]


def rises(x: Contours) -> Sequence[np.ndarray]:
    """Mean and deviation of the rising steps, then of the falling steps, as positive numbers."""
    values: list[np.ndarray] = []
    for steps in (np.maximum(x.steps, 0), np.maximum(-x.steps, 0)):
        number = (steps > 0).sum(axis=-1)
        values += _moments(number, steps.sum(axis=-1), np.vecdot(steps, steps))
    return values


def segments(x: Contours) -> Sequence[np.ndarray]:
    """Describe the segments, runs of frames above 75 % of the range.

    Segments per frame; mean and deviation of their lengths, longest and shortest length, in
    frames. 0 for a flat contour.
    """
    padded = np.zeros((x.mean.size, x.frames + 1), dtype=bool)
    padded[:, :-1] = x.is_above(0.75).reshape(-1, x.frames)
    edges = np.flatnonzero(np.diff(padded.ravel(), prepend=False))
    begin, lengths = edges[::2], edges[1::2] - edges[::2]
    contour = begin // (x.frames + 1)
    shape = x.mean.shape
    longest, shortest = np.zeros(x.mean.size), np.zeros(x.mean.size)
    first = np.flatnonzero(np.diff(contour, prepend=-1))
    if len(first):
        longest[contour[first]] = np.maximum.reduceat(lengths, first)
        shortest[contour[first]] = np.minimum.reduceat(lengths, first)
    number = np.bincount(contour, minlength=x.mean.size)
    return [
        number.reshape(shape) / x.frames,
        *_grouped(lengths, contour, shape),
        longest.reshape(shape),
        shortest.reshape(shape),
    ]


def centroid(x: Contours) -> Sequence[np.ndarray]:
    """Centre of gravity over relative time, 0 to 1, of the values above the smallest one."""
    offset = np.vecdot(x.above, x.time) / max(x.frames - 1, 1)
    return [0.5 + _ratio(offset, x.above.sum(axis=-1))]


def autocorrelation(x: Contours) -> Sequence[np.ndarray]:
    """Autocorrelation at lags of 1 to 5 frames; 0 for a flat contour and beyond its length."""
    variation = np.where(x.range > 0, x.variance * x.frames, 0)
    return [
        _ratio(np.vecdot(x.centred[..., :-lag], x.centred[..., lag:]), variation)
        for lag in range(1, 6)
    ]


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide; 0 where the denominator is 0."""
    zeros = np.zeros(denominator.shape)
    return np.divide(numerator, denominator, out=zeros, where=denominator != 0)


def _moments(number: np.ndarray, total: np.ndarray, squares: np.ndarray) -> Sequence[np.ndarray]:
    """Mean and standard deviation of values from their number, sum and sum of squares."""
    average = _ratio(total, number)
    return [average, np.sqrt(np.maximum(_ratio(squares, number) - average**2, 0))]


def _grouped(
    values: np.ndarray, contour: np.ndarray, shape: tuple[int, ...]
) -> Sequence[np.ndarray]:
    """Mean and standard deviation of the values that each contour has, [clips, dimensions]."""
    size = int(np.prod(shape))
    sums = [np.bincount(contour, weights, size) for weights in (None, values, np.square(values))]
    return [result.reshape(shape) for result in _moments(*sums)]


def deltas(values: np.ndarray) -> np.ndarray:
    """Slope of the line fitted to each frame and two on either side, the edges being repeated.

    Parameters
    ----------
    values : float64 [..., frames]
    """
    frames = values.shape[-1]
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(2, 2)], mode="edge")
    p2, p1, _, n1, n2 = (padded[..., i : i + frames] for i in range(5))
    return (n1 - p1 + 2 * (n2 - p2)) / 10


_PERCENTILES = ("p5", "p20", "p50", "p80", "p95")
#: Functionals by their names in conf/model, and the names of their values per dimension. A vector
#: has the first value of all dimensions, then the second of all.
FUNCTIONALS: dict[str, tuple[Callable[[Contours], Sequence[np.ndarray]], tuple[str, ...]]] = {
    "mean": (mean, ("mean",)),
    "deviation": (deviation, ("deviation",)),
    "slope": (slope, ("slope",)),
    "percentiles": (percentiles, _PERCENTILES),
    "change": (change, ("step_mean", "step_deviation")),
    "quartiles": (
        quartiles,
        ("p1", "p25", "p75", "p99", "range_25_50", "range_50_75", "range_25_75", "range_1_99"),
    ),
    "moments": (moments, ("skewness", "kurtosis")),
    "extremes": (extremes, ("range", "max_position", "min_position", "max_above_mean")),
    "regression": (
        regression,
        ("line_start", "line_error", "curve_square", "curve_slope", "curve_start", "curve_error"),
    ),
    "peaks": (
        peaks,
        ("peaks", *(f"peak_{v}" for v in ("gap_mean", "gap_std", "height_mean", "height_std"))),
    ),
    "times": (times, ("above_25", "above_50", "above_75", "above_90", "rising", "left_bend")),
    "rises": (rises, ("rise_mean", "rise_deviation", "fall_mean", "fall_deviation")),
    "segments": (
        segments,
        ("segments", "segment_mean", "segment_deviation", "segment_longest", "segment_shortest"),
    ),
    "centroid": (centroid, ("centroid",)),
    "autocorrelation": (autocorrelation, tuple(f"autocorrelation_{lag}" for lag in range(1, 6))),
}
# Before the name of a functional: of the features' deltas.
_DELTA = "delta_"
_VOICED_PARTS = ("mean", "deviation", "percentiles")
# A frame is voiced where the second dimension of pitch, its strength, reaches this value.
_PITCH, _STRENGTH, _VOICED = "pitch", 1, 0.5
# Numbers in memory at a time, at least one dimension of a clip; more would leave the CPU's cache.
_BLOCK = 2**16


def available(inputs: Mapping[str, int]) -> list[str]:
    """List the functionals that features of these dimensions have.

    `delta_` before a name is of the features' deltas; `voiced` needs pitch.
    """
    names = [*FUNCTIONALS, *(_DELTA + name for name in FUNCTIONALS)]
    return [*names, *(["voiced"] if inputs.get(_PITCH, 0) > _STRENGTH else [])]


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
        columns += [f"{dimension}_{value}" for value in _values(name) for dimension in dimensions]
        columns += [f"{_PITCH}_{_STRENGTH}_voiced_share"] if name == "voiced" else []
    return columns


def functionals(data: ClipData, clips: np.ndarray, *, names: Sequence[str]) -> np.ndarray:
    """Compute the functionals of all features of some clips.

    `voiced` is the mean, the deviation and the percentiles over the voiced frames, or over all if
    none is voiced, and last the share of voiced frames.

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
    result = np.empty((len(clips), len(functional_names(data.inputs, names=names))), np.float32)
    if not len(clips):
        return result
    counts, size = data.frames[clips], sum(data.inputs.values())
    starts = np.cumsum(counts) - counts
    rows = np.arange(counts.sum()) + np.repeat(data.first[clips] - starts, counts)
    whole: list[tuple[str, np.ndarray]] = []
    voiced: list[tuple[str, np.ndarray]] = []
    begin = 0
    for name in names:
        for part in _VOICED_PARTS if name == "voiced" else (name,):
            end = begin + len(_values(part)) * size
            columns = result[:, begin:end].reshape(len(clips), -1, size)
            (voiced if name == "voiced" else whole).append((part, columns))
            begin = end
        if name == "voiced":
            is_voiced = data.caches[_PITCH][rows, _STRENGTH] >= _VOICED
            share = np.add.reduceat(is_voiced.astype(np.int64), starts) / counts
            chosen = is_voiced | np.repeat(share == 0, counts)
            result[:, begin] = share
            begin += 1
            _fill(voiced, data, rows[chosen], np.add.reduceat(chosen.astype(np.int64), starts))
    _fill(whole, data, rows, counts)
    return result


def _fill(
    parts: Sequence[tuple[str, np.ndarray]], data: ClipData, rows: np.ndarray, counts: np.ndarray
) -> None:
    """Compute functionals, block by block, of clips that have so many of the rows each.

    Parameters
    ----------
    parts : sequence of (name, float32 [clips, values, dimensions])
        functionals, and where their values go
    rows : int64 [rows of all clips]
        of the caches
    counts : int64 [clips]
        rows of each clip
    """
    starts = np.cumsum(counts) - counts
    for clips in _blocks(counts, sum(data.inputs.values())):
        frames = int(counts[clips[0]])
        picked = rows[starts[clips, None] + np.arange(frames)]
        cut = np.concatenate([np.take(c, picked, axis=0) for c in data.caches.values()], axis=2)
        cut = cut.transpose(0, 2, 1)
        most = max(1, _BLOCK // frames)  # dimensions at a time, all but in a very long clip
        for begin in range(0, cut.shape[1], most):
            some = slice(begin, begin + most)
            values = np.ascontiguousarray(cut[:, some], dtype=np.float64)
            contours = {"": Contours(values)}
            if any(name.startswith(_DELTA) for name, _ in parts):
                contours[_DELTA] = Contours(deltas(values))
            for name, columns in parts:
                kind = _DELTA if name.startswith(_DELTA) else ""
                compute = FUNCTIONALS[name.removeprefix(_DELTA)][0]
                columns[clips, :, some] = np.stack(compute(contours[kind]), axis=1)


def _blocks(counts: np.ndarray, dimensions: int) -> Iterator[np.ndarray]:
    """Split clips into blocks of equal numbers of frames and bounded size: positions."""
    order = np.argsort(counts, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(counts[order])) + 1):
        size = max(1, _BLOCK // max(int(counts[group[0]]) * dimensions, 1))
        yield from (group[begin : begin + size] for begin in range(0, len(group), size))


def _values(name: str) -> tuple[str, ...]:
    """Names of the values that a functional has per dimension."""
    if name == "voiced":
        return tuple(f"voiced_{value}" for part in _VOICED_PARTS for value in _values(part))
    prefix = _DELTA if name.startswith(_DELTA) else ""
    return tuple(prefix + value for value in FUNCTIONALS[name.removeprefix(prefix)][1])


def _check(names: Sequence[str], inputs: Mapping[str, int]) -> None:
    """Refuse functionals that features of these dimensions do not have."""
    known = available(inputs)
    unknown = [name for name in names if name not in known]
    hint = "" if "voiced" in known else "; voiced needs the feature pitch"
    check("model.network.functionals", unknown, not unknown, f"some of {known}{hint}")
