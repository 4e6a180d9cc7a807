"""95 % confidence intervals from the jackknife, and the paired comparison of two systems.

Clips of one speaker are not independent, so a replicate leaves out a whole speaker. The interval is
wide where few speakers were tested, and honest about new ones.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit  # scipy.stats takes ten times as long to import

from stages.metrics.counts import Statistic, confusion_by_group, divide

#: Probability below the upper end of a two-sided 95 % interval.
_UPPER = 0.975
#: Differences are rounded to so many decimals: equal systems differ by 0, not by the order of sums.
_DECIMALS = 12


class Interval(NamedTuple):
    """A 95 % confidence interval; `unit` is left out in turn: "speakers" or "clips"."""

    low: float
    high: float
    unit: str


class Difference(NamedTuple):
    """A paired difference with its 95 % confidence interval and test.

    Attributes
    ----------
    value, low, high : float
        the difference and the ends of its interval
    p : float
        two-sided p value of the hypothesis that the difference is 0
    unit : str
        left out in turn: "speakers" or "clips"
    n_units : int
    """

    value: float
    low: float
    high: float
    p: float
    unit: str
    n_units: int


def left_out(speakers: ArrayLike, *, clips: ArrayLike | None = None) -> tuple[NDArray[Any], str]:
    """Choose the groups that a jackknife leaves out in turn.

    Parameters
    ----------
    speakers : [clips]
    clips : [clips] or None
        names of the clips; rows of one clip, which several folds test, stay together. None: each
        row is a clip of its own

    Returns
    -------
    groups [clips], unit
        the speakers, or the clips of a lone speaker; the unit as a plural noun
    """
    speakers = np.asarray(speakers)
    if (speakers != speakers[:1]).any():
        return speakers, "speakers"
    return np.arange(len(speakers)) if clips is None else np.asarray(clips), "clips"


def interval_of_replicates(
    estimate: ArrayLike, replicates: ArrayLike, *, lowest: float = 0.0, highest: float = 1.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute a jackknife interval from a figure and its replicates.

    The interval is estimate +- t * sqrt((n - 1) / n * sum((replicate - mean replicate)^2)), clipped
    to [lowest, highest], with the t quantile of n - 1 degrees of freedom. A replicate in which the
    figure is undefined, because no clip of its class is left, does not count among the n. Fewer
    than two replicates give [lowest, highest].

    Parameters
    ----------
    estimate : float [...]
        figure of all groups together
    replicates : float [groups, ...]
        figure without each group; NaN where undefined
    lowest, highest : float
        range of the figure

    Returns
    -------
    low, high : float [...]

    Raises
    ------
    ValueError
        if the figure is undefined over all groups together

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 11
    """
    estimate = np.asarray(estimate, float)
    if np.isnan(estimate).any():
        raise ValueError("jackknife: the statistic is undefined (NaN) over all groups together")
    error, freedom = _standard_error(np.asarray(replicates, float))
    half = stdtrit(freedom, _UPPER) * error
    return np.clip(estimate - half, lowest, highest), np.clip(estimate + half, lowest, highest)


def jackknife_interval(
    statistic: Statistic,
    confusions: NDArray,
    *,
    lowest: float = 0.0,
    highest: float = 1.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the interval of a figure of counts by leaving out one group at a time.

    Parameters
    ----------
    statistic : callable
        counts [..., *rest] -> values [...] in [lowest, highest], for any leading axes
    confusions : [groups, *rest]
        counts or other sums per group, such as [speakers, classes, classes]
    lowest, highest : float
        range of the figure

    Returns
    -------
    low, high : float
        of the shape that `statistic` gives for all groups together

    Raises
    ------
    ValueError
        see `interval_of_replicates`
    """
    total = confusions.sum(0)
    return interval_of_replicates(
        statistic(total), statistic(total - confusions), lowest=lowest, highest=highest
    )


def speaker_interval(
    statistic: Statistic,
    *,
    truth: ArrayLike,
    predicted: ArrayLike,
    speakers: ArrayLike,
    n_classes: int,
    clips: ArrayLike | None = None,
    lowest: float = 0.0,
) -> Interval:
    """Compute the interval of one figure by leaving out one speaker at a time.

    Parameters
    ----------
    statistic : callable
        counts [..., *runs, classes, classes] -> values [...]
    truth : int [clips]
        index of the actual class
    predicted : int [clips, *runs]
        index of the predicted class
    speakers, clips : [clips]
        see `left_out`
    n_classes : int
    lowest : float
        least value of the figure
    """
    groups, unit = left_out(speakers, clips=clips)
    _, confusions = confusion_by_group(truth, predicted, groups, n_classes=n_classes)
    low, high = jackknife_interval(statistic, confusions, lowest=lowest)
    return Interval(float(low), float(high), unit)


def mean_interval(
    values: ArrayLike, speakers: ArrayLike, *, lowest: float = 0.0, highest: float = 1.0
) -> Interval:
    """Compute the interval of a mean over clips and all further axes.

    Parameters
    ----------
    values : float [clips, ...]
    speakers : [clips]
        see `left_out`
    lowest, highest : float
        range of a value
    """
    each = np.asarray(values, dtype=float)
    each = each.reshape(len(each), -1).mean(1)
    groups, unit = left_out(speakers)
    group, _ = pd.factorize(groups, sort=True)
    sums, sizes = np.bincount(group, each), np.bincount(group)
    # A lone clip leaves no replicate.
    replicates = divide(sums.sum() - sums, len(each) - sizes, empty=np.nan)
    low, high = interval_of_replicates(each.mean(), replicates, lowest=lowest, highest=highest)
    return Interval(float(low), float(high), unit)


def jackknife_test(statistic: Statistic, confusions: NDArray) -> tuple[NDArray[np.float64], ...]:
    """Test whether a difference is 0 by leaving out one group at a time.

    If the difference is 0, its ratio to the jackknife standard error follows about a t distribution
    with n - 1 degrees of freedom. So p is below .05 exactly where the 95 % interval excludes 0.

    Parameters
    ----------
    statistic : callable
        counts [..., *rest] -> differences [...] in [-1, 1], for any leading axes
    confusions : int [groups, *rest]
        counts per group, such as [speakers, systems, classes, classes]

    Returns
    -------
    value, low, high, p : float
        of the shape that `statistic` gives for all groups together; p is 1 with fewer than two
        groups

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 11
    """
    total = confusions.sum(0)
    value, replicates = np.asarray(statistic(total), float), statistic(total - confusions)
    error, freedom = _standard_error(replicates)
    # Without any error, a difference is certain, and no difference is none.
    certain = np.where(value == 0, 0.0, np.inf)
    ratio = np.divide(abs(value), error, out=certain, where=error > 10.0**-_DECIMALS)
    low, high = interval_of_replicates(value, replicates, lowest=-1.0)
    return value, low, high, 2 * stdtr(freedom, -ratio)


def paired_difference(
    statistic: Statistic,
    *,
    truth: ArrayLike,
    predicted: ArrayLike,
    reference: ArrayLike,
    speakers: ArrayLike,
    n_classes: int,
    clips: ArrayLike | None = None,
) -> Difference:
    """Compare two systems on the same clips by a paired jackknife.

    Each figure is the mean over the system's seeds. A replicate leaves out the same speaker for
    both systems, so a speaker who is hard for both does not widen the interval.

    Parameters
    ----------
    statistic : callable
        counts [..., classes, classes] -> values [...] in [0, 1], such as `unweighted_accuracy`
    truth : int [clips]
        index of the actual class
    predicted, reference : int [clips, seeds]
        index of the class that each system predicts; the numbers of seeds may differ
    speakers, clips : [clips]
        see `left_out`
    n_classes : int

    Returns
    -------
    Difference
        figure of `predicted` minus figure of `reference`, in [-1, 1]

    Raises
    ------
    ValueError
        if the systems were not run on the same clips; see also `confusion_by_group`
    """
    predicted, reference = np.asarray(predicted), np.asarray(reference)
    if not predicted.ndim == reference.ndim == 2 or len(predicted) != len(reference):
        got = f"{predicted.shape} and {reference.shape}"
        raise ValueError(f"predicted, reference: got shapes {got}, want [clips, seeds] of the same")
    n_seeds = predicted.shape[1]

    def difference(confusions: NDArray) -> NDArray[np.float64]:
        figures = statistic(confusions)  # [..., seeds of both systems]
        lead = figures[..., :n_seeds].mean(-1) - figures[..., n_seeds:].mean(-1)
        return np.round(lead, _DECIMALS)

    groups, unit = left_out(speakers, clips=clips)
    runs = np.concatenate([predicted, reference], axis=1)
    _, confusions = confusion_by_group(truth, runs, groups, n_classes=n_classes)
    value, low, high, p = map(float, jackknife_test(difference, confusions))
    return Difference(value, low, high, p, unit, len(confusions))


def as_columns(name: str, value: float, interval: Interval | Difference) -> dict[str, float]:
    """Name a figure and its interval as tables do: <name>, <name>_low and <name>_high."""
    return {name: value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _standard_error(replicates: NDArray) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Standard error over the defined replicates, and its degrees of freedom, at least 1.

    The error is infinite with fewer than two replicates.
    """
    defined = ~np.isnan(replicates)
    n = defined.sum(0)
    centre = divide(np.where(defined, replicates, 0.0).sum(0), n, empty=0.0)
    squares = np.where(defined, (replicates - centre) ** 2, 0.0).sum(0)
    error = np.sqrt(divide((n - 1) * squares, n, empty=0.0))
    return np.where(n > 1, error, np.inf), np.maximum(n - 1, 1)
