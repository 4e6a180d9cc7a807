"""Classification metrics and their intervals, from counts alone.

Every metric is a function of confusion matrices with any leading axes, so that one call serves
seeds, folds, speakers and all replicates of a jackknife. Row = actual class, column = predicted.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats


class Interval(NamedTuple):
    """A confidence interval, and what was left out in turn to get it (speakers or clips)."""

    low: float
    high: float
    unit: str


def left_out(speakers: ArrayLike, *, clips: ArrayLike | None = None) -> tuple[NDArray, str]:
    """What a jackknife leaves out in turn: the speaker of each clip, or each clip of a lone one.

    Clips of one speaker are not independent, so speakers are the units wherever there are two.
    `clips` names the clips: rows of one that several folds test then go together.

    Returns
    -------
    groups [clips], unit
        the unit in the plural
    """
    speakers = np.asarray(speakers)
    several = len(np.unique(speakers)) > 1
    if several:
        return speakers, "speakers"
    return np.arange(len(speakers)) if clips is None else np.asarray(clips), "clips"


def confusion_by_group(
    truth: ArrayLike, predicted: ArrayLike, groups: ArrayLike, *, n_classes: int
) -> tuple[NDArray, NDArray[np.int64]]:
    """Count (actual, predicted) pairs within each group.

    Parameters
    ----------
    truth : int [clips]
        index of the actual class
    predicted : int [clips, ...]
        index of the predicted class; further axes (seeds) are counted apart
    groups : [clips]
        what to count by, such as the speaker of each clip
    n_classes : int

    Returns
    -------
    names [groups], counts [groups, ..., n_classes, n_classes]
        groups in sorted order

    Raises
    ------
    ValueError
        if there is no clip, the lengths differ, or an index is not below n_classes
    """
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    if not len(truth) == len(predicted) == len(group) > 0:
        got = f"{len(truth)}, {len(predicted)} and {len(group)}"
        raise ValueError(f"truth, predicted, groups: got {got} clips, want one equal length over 0")
    for name, indices in (("truth", truth), ("predicted", predicted)):
        if indices.min() < 0 or indices.max() >= n_classes:
            got = f"{indices.min()} to {indices.max()}"
            raise ValueError(f"{name}: got class indices {got}, want 0 to {n_classes - 1}")
    runs = predicted.shape[1:]
    predicted = predicted.reshape(len(truth), -1)
    counts = np.zeros((len(names), predicted.shape[1], n_classes, n_classes), dtype=np.int64)
    np.add.at(counts, (group[:, None], np.arange(predicted.shape[1]), truth[:, None], predicted), 1)
    return names, counts.reshape(len(names), *runs, n_classes, n_classes)


def confusion_matrix(
    truth: ArrayLike, predicted: ArrayLike, *, n_classes: int
) -> NDArray[np.int64]:
    """Count (actual, predicted) pairs of all clips; see `confusion_by_group`, without its axis."""
    one_group = np.zeros(len(np.asarray(truth)), dtype=int)
    return confusion_by_group(truth, predicted, one_group, n_classes=n_classes)[1][0]


def recall(confusion: NDArray) -> NDArray[np.float64]:
    """Share of each actual class that was recognised, [..., classes]; NaN where it has no clip."""
    return _ratio(_hits(confusion), confusion.sum(-1), empty=np.nan)


def precision(confusion: NDArray) -> NDArray[np.float64]:
    """Share of each predicted class that was right, [..., classes]; 0 where never predicted."""
    return _ratio(_hits(confusion), confusion.sum(-2), empty=0.0)


def f1(confusion: NDArray) -> NDArray[np.float64]:
    """Harmonic mean of precision and recall, [..., classes]; 0 where there is nothing to count."""
    return _ratio(2 * _hits(confusion), confusion.sum(-1) + confusion.sum(-2), empty=0.0)


def macro(per_class: NDArray, confusion: NDArray) -> NDArray[np.float64]:
    """Mean over the classes that occur among the true labels.

    Parameters
    ----------
    per_class : float [..., classes]
    confusion : int [..., classes, classes]
        the counts that `per_class` was computed from

    Returns
    -------
    float [...]
        NaN where no class occurs
    """
    occurs = confusion.sum(-1) > 0
    return _ratio(np.where(occurs, per_class, 0.0).sum(-1), occurs.sum(-1), empty=np.nan)


def weighted(per_class: NDArray, confusion: NDArray) -> NDArray[np.float64]:
    """Mean over the classes, each with the weight of its true clips; arguments as for `macro`.

    The weighted recall is the accuracy.
    """
    support = confusion.sum(-1)
    products = np.where(support > 0, per_class, 0.0) * support
    return _ratio(products.sum(-1), support.sum(-1), empty=np.nan)


def one_against_rest(confusion: NDArray) -> NDArray:
    """Confusion of each class with all others taken as one, [..., classes, 2, 2]; the class first.

    Only the last two axes are replaced: those before them stay as they are.
    """
    hits = _hits(confusion)
    misses, false = confusion.sum(-1) - hits, confusion.sum(-2) - hits
    rest = confusion.sum((-2, -1))[..., None] - hits - misses - false
    table = np.stack([hits, misses, false, rest], axis=-1)
    return table.reshape(*table.shape[:-1], 2, 2)


def matthews(confusion: NDArray) -> NDArray[np.float64]:
    """Matthews correlation of actual and predicted class, [...], in [-1, 1].

    0 where it is not defined: all clips are of one class, or one is always predicted; NaN without
    clips.

    References
    ----------
    Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient, 2004;
    sklearn.metrics.matthews_corrcoef, equal to 1e-12
    """
    actual, predicted = confusion.sum(-1).astype(float), confusion.sum(-2).astype(float)
    n = actual.sum(-1)
    covariance = _hits(confusion).sum(-1) * n - (actual * predicted).sum(-1)
    variances = [n**2 - (sums**2).sum(-1) for sums in (actual, predicted)]
    value = _ratio(covariance, np.sqrt(variances[0] * variances[1]), empty=0.0)
    return np.where(n > 0, value, np.nan)


def unweighted_accuracy(confusion: NDArray) -> NDArray[np.float64]:
    """Mean recall over the classes that occur among the true labels (UA, UAR), [...].

    References
    ----------
    sklearn.metrics.balanced_accuracy_score, equal to 1e-12
    """
    return macro(recall(confusion), confusion)


def accuracy(confusion: NDArray) -> NDArray[np.float64]:
    """Share of clips that were recognised (weighted accuracy, WA), [...]; NaN without clips."""
    return _ratio(_hits(confusion).sum(-1), confusion.sum((-2, -1)), empty=np.nan)


def jackknife_interval(
    statistic: Callable[[NDArray], NDArray],
    confusions: NDArray,
    *,
    level: float = 0.95,
    lowest: float = 0.0,
    highest: float = 1.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Confidence interval of a figure of counts, from leaving out one group at a time.

    Parameters
    ----------
    statistic : callable
        counts [..., *rest] -> values [...], in [lowest, highest], for any leading axes
    confusions : [groups, *rest]
        counts or other sums per group, such as [speakers, classes, classes]
    level, lowest, highest
        see `interval_of_replicates`

    Returns
    -------
    low, high
        each of the shape that `statistic` gives for the counts of all groups together
    """
    total = confusions.sum(0)
    return interval_of_replicates(
        statistic(total),
        statistic(total - confusions),
        level=level,
        lowest=lowest,
        highest=highest,
    )


def interval_of_replicates(
    estimate: ArrayLike,
    replicates: ArrayLike,
    *,
    level: float = 0.95,
    lowest: float = 0.0,
    highest: float = 1.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Jackknife interval from a figure and its values with one group left out.

    estimate +- t * sqrt((n - 1) / n * sum((replicate - mean replicate)^2)), clipped to
    [lowest, highest], with the t quantile of n - 1 degrees of freedom. A replicate in which the
    figure is undefined (nothing of its class is left) does not count among the n. Fewer than two
    replicates say nothing: the interval is then [lowest, highest].

    Parameters
    ----------
    estimate : float [...]
    replicates : float [groups, ...]
        NaN where undefined
    level : float
        wanted coverage
    lowest, highest : float
        values that the figure can take: lowest is -1 for a difference

    Raises
    ------
    ValueError
        if the figure is undefined over all groups together

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 11
    """
    estimate, replicates = np.asarray(estimate, float), np.asarray(replicates, float)
    if np.isnan(estimate).any():
        raise ValueError("jackknife: the statistic is undefined (NaN) over all groups together")
    defined = ~np.isnan(replicates)
    n = defined.sum(0)
    centre = _ratio(np.where(defined, replicates, 0.0).sum(0), n, empty=0.0)
    squares = np.where(defined, (replicates - centre) ** 2, 0.0).sum(0)
    error = np.sqrt(_ratio((n - 1) * squares, n, empty=0.0))
    half = np.where(n > 1, stats.t.ppf(0.5 + level / 2, np.maximum(n - 1, 1)) * error, np.inf)
    return np.clip(estimate - half, lowest, highest), np.clip(estimate + half, lowest, highest)


def speaker_interval(
    statistic: Callable[[NDArray], NDArray],
    truth: NDArray,
    predicted: NDArray,
    speakers: NDArray,
    *,
    n_classes: int,
    lowest: float = 0.0,
    clips: ArrayLike | None = None,
) -> Interval:
    """95 % interval of one figure by leaving out one speaker at a time, or clips of a lone speaker.

    Parameters
    ----------
    statistic : callable
        counts [..., *runs, classes, classes] -> values [...]
    truth, predicted, speakers
        as for `confusion_by_group`: [clips], [clips, *runs], [clips]
    n_classes : int
    lowest : float
        as for `jackknife_interval`
    clips : [clips] or None
        see `left_out`
    """
    groups, unit = left_out(speakers, clips=clips)
    _, confusions = confusion_by_group(truth, predicted, groups, n_classes=n_classes)
    low, high = jackknife_interval(statistic, confusions, lowest=lowest)
    return Interval(float(low), float(high), unit)


def paired_difference(
    *,
    statistic: Callable[[NDArray], NDArray],
    truth: NDArray,
    predicted: NDArray,
    reference: NDArray,
    speakers: NDArray,
    n_classes: int,
) -> tuple[float, Interval]:
    """By how much one system is ahead of another on the same clips, with its 95 % interval.

    Each figure is the mean over seeds. Both systems lose the same speaker in each replicate, so
    what makes a speaker easy or hard for both does not widen the interval.

    Parameters
    ----------
    statistic : callable
        counts [..., classes, classes] -> values [...], in [0, 1], such as `unweighted_accuracy`
    truth : int [clips]
        index of the actual class
    predicted, reference : int [clips, seeds]
        index of the class that each system predicts
    speakers : [clips]
        what is left out in turn; the clips, if there is one speaker
    n_classes : int

    Returns
    -------
    difference, interval
        figure of `predicted` minus figure of `reference`; both in [-1, 1]

    Raises
    ------
    ValueError
        if the systems were not run on the same clips and as many seeds; see `confusion_by_group`
    """
    if predicted.shape != reference.shape or predicted.ndim != 2:
        got = f"{predicted.shape} and {reference.shape}"
        raise ValueError(f"predicted, reference: got shapes {got}, want one equal [clips, seeds]")

    def difference(confusions: NDArray) -> NDArray:
        figures = statistic(confusions).mean(-2)  # [..., systems]
        return figures[..., 0] - figures[..., 1]

    systems = np.stack([predicted, reference], axis=-1)  # [clips, seeds, systems]
    value = difference(confusion_matrix(truth, systems, n_classes=n_classes))
    interval = speaker_interval(
        difference, truth, systems, speakers, n_classes=n_classes, lowest=-1.0
    )
    return float(value), interval


def _hits(confusion: NDArray) -> NDArray:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def _ratio(numerator: NDArray, denominator: NDArray, *, empty: float) -> NDArray[np.float64]:
    """Divide, with `empty` where the denominator is 0."""
    result = np.full(np.shape(denominator), empty, dtype=float)
    return np.divide(numerator, denominator, out=result, where=np.asarray(denominator) > 0)
