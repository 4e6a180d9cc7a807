"""Metrics of probabilities beyond the most probable class: loss, ranks and calibration.

Each is a mean over clips, pairs of clips or bins of clips, so that leaving out each speaker in turn
costs next to nothing. All pool the folds: clips of different folds are ranked and binned together,
although different models predicted them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax

from stages.metrics.counts import divide

#: Lower bound of a probability: a confident mistake costs 16.1 nats instead of infinity.
LEAST = 1e-7
#: Number of confidence bins of equal width of a calibration error.
BINS = 15
#: Temperatures lie between its inverse and this. Validation clips that are all recognised, or that
#: tell nothing, would lead to 0 or to infinity.
MOST = 20.0


def log_losses(truth: ArrayLike, probabilities: ArrayLike) -> NDArray[np.float64]:
    """Negative natural logarithm of the probability of the actual class, [clips, ...].

    Parameters
    ----------
    truth : int [clips]
        index of the actual class
    probabilities : float [clips, ..., classes]
        clipped to at least LEAST
    """
    truth, probabilities = np.asarray(truth), np.asarray(probabilities)
    given = np.moveaxis(probabilities, -1, 1)[np.arange(len(truth)), truth]
    return -np.log(np.clip(given, LEAST, 1.0))


def squared_errors(truth: ArrayLike, probabilities: ArrayLike) -> NDArray[np.float64]:
    """Squared error of each probability against 1 (actual class) or 0, [clips, ..., classes].

    The mean over clips is the Brier score of a class against the rest, in [0, 1]; the sum of these
    over classes is the Brier score, in [0, 2].

    References
    ----------
    Brier, Verification of forecasts expressed in terms of probability, 1950;
    sklearn.metrics.brier_score_loss with scale_by_half=False, equal to 1e-12
    """
    truth, probabilities = np.asarray(truth), np.asarray(probabilities)
    classes = np.arange(probabilities.shape[-1])
    actual = truth.reshape(-1, *[1] * (probabilities.ndim - 1)) == classes
    return (probabilities - actual) ** 2


def in_top(truth: ArrayLike, probabilities: ArrayLike, *, k: int) -> NDArray[np.bool_]:
    """Whether the actual class is among the k most probable ones, [clips, ...].

    Ties go to the class that comes first, as in argmax.

    References
    ----------
    sklearn.metrics.top_k_accuracy_score, equal where no probabilities are
    """
    order = np.argsort(-np.asarray(probabilities), axis=-1, kind="stable")[..., :k]
    return (order == np.asarray(truth).reshape(-1, *[1] * (order.ndim - 1))).any(-1)


def roc_areas(
    truth: ArrayLike, probabilities: ArrayLike, groups: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Area under the ROC curve of each class against the rest, and its jackknife replicates.

    The area is the fraction of pairs, one clip of the class and one of the rest, in which the first
    has the higher probability of the class. A tie counts half.

    Parameters
    ----------
    truth : int [clips]
    probabilities : float [clips, runs, classes]
    groups : [clips]
        left out in turn, such as the speaker of each clip

    Returns
    -------
    areas [runs, classes], replicates [groups, runs, classes]
        NaN where no clip is of the class, or none of the rest

    References
    ----------
    Hanley and McNeil, The meaning and use of the area under a ROC curve, 1982;
    sklearn.metrics.roc_auc_score, equal to 1e-12
    """
    truth, probabilities = np.asarray(truth), np.asarray(probabilities)
    group, names = pd.factorize(np.asarray(groups), sort=True)
    _, runs, classes = probabilities.shape
    areas, replicates = np.empty((runs, classes)), np.empty((len(names), runs, classes))
    for run, label in np.ndindex(runs, classes):
        areas[run, label], replicates[:, run, label] = _roc_area(
            probabilities[:, run, label], truth == label, group, n_groups=len(names)
        )
    return areas, replicates


def _roc_area(
    scores: NDArray, positive: NDArray[np.bool_], group: NDArray[np.int64], *, n_groups: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Area of one curve and its replicates [groups], from ranks over all and within groups."""
    values, value = np.unique(scores, return_inverse=True)
    # Of each clip, the number of pairs in which the class has the higher score.
    ours, theirs = (
        np.bincount(value[side], minlength=len(values)) for side in (positive, ~positive)
    )
    n_ours, n_theirs = ours.sum(), theirs.sum()
    over_rest, over_class = np.cumsum(theirs) - theirs / 2, np.cumsum(ours) - ours / 2
    won = np.where(positive, over_rest[value], n_ours - over_class[value])
    n_positive = np.bincount(group, positive, minlength=n_groups)
    n_negative = np.bincount(group, minlength=n_groups) - n_positive
    # Pairs within a group, which its sum counts twice, by the ranks of its clips among each other.
    _, place, ties = np.unique(group * len(values) + value, return_inverse=True, return_counts=True)
    within = (np.cumsum(ties) - (ties - 1) / 2)[place]
    before = np.cumsum(n_positive + n_negative) - (n_positive + n_negative)
    ranks = np.bincount(group[positive], within[positive], minlength=n_groups)
    inner = ranks - n_positive * before - n_positive * (n_positive + 1) / 2
    wins = won[positive].sum()
    left = wins - np.bincount(group, won, minlength=n_groups) + inner
    pairs = (n_ours - n_positive) * (n_theirs - n_negative)
    area = divide(wins, n_ours * n_theirs, empty=np.nan)
    return area, divide(left, pairs, empty=np.nan)


def roc_curves(truth: ArrayLike, probabilities: ArrayLike) -> dict[int, NDArray[np.float64]]:
    """ROC curve of each class against the rest, its true positive rate averaged over the runs.

    Parameters
    ----------
    truth : int [clips]
    probabilities : float [clips, runs, classes]

    Returns
    -------
    float [2, points] by class
        false and true positive rate; without classes whose curve is undefined
    """
    truth, probabilities = np.asarray(truth), np.asarray(probabilities)
    rates, curves = np.linspace(0, 1, 201), {}
    for label in range(probabilities.shape[-1]):
        own = truth == label
        if own.any() and not own.all():
            runs = [_roc_curve(own, scores) for scores in probabilities[..., label].T]
            hits = np.mean([np.interp(rates, *run) for run in runs], axis=0)
            curves[label] = np.stack([np.append(0, rates), np.append(0, hits)])
    return curves


def _roc_curve(positive: NDArray[np.bool_], scores: NDArray) -> tuple[NDArray, NDArray]:
    """False and true positive rate, rising, of each distinct score as the threshold."""
    values, value = np.unique(-scores, return_inverse=True)
    sides = (np.bincount(value[side], minlength=len(values)) for side in (~positive, positive))
    false, true = (np.append(0, np.cumsum(side)) / side.sum() for side in sides)
    return false, true


def mean_defined(areas: NDArray) -> NDArray[np.float64]:
    """Mean over the classes whose area is defined, [...]; NaN where none is."""
    defined = ~np.isnan(areas)
    return divide(np.where(defined, areas, 0.0).sum(-1), defined.sum(-1), empty=np.nan)


def reliability(
    truth: ArrayLike, probabilities: ArrayLike, groups: ArrayLike
) -> NDArray[np.float64]:
    """Sum up clips, confidences and hits in each bin of confidence.

    Confidence is the probability of the most probable class. The bins are BINS intervals of equal
    width, each with its upper end.

    Parameters
    ----------
    truth : int [clips]
    probabilities : float [clips, runs, classes]
    groups : [clips]

    Returns
    -------
    float [groups, runs, BINS, 3]
        number of clips, sum of their confidences, number of clips recognised
    """
    truth, probabilities = np.asarray(truth), np.asarray(probabilities)
    group, names = pd.factorize(np.asarray(groups), sort=True)
    confidence = probabilities.max(-1)
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    right = probabilities.argmax(-1) == truth[:, None]
    sums = np.zeros((len(names), confidence.shape[1], BINS, 3))
    facts = np.stack([np.ones_like(confidence), confidence, right], axis=-1)
    np.add.at(sums, (group[:, None], np.arange(confidence.shape[1]), place), facts)
    return sums


def calibration_error(sums: NDArray) -> NDArray[np.float64]:
    """Expected calibration error, [...]: mean distance of confidence from accuracy over bins.

    Each bin is weighted by its clips. Few clips give an error above 0 even for calibrated
    probabilities.

    Parameters
    ----------
    sums : float [..., BINS, 3]
        see `reliability`

    References
    ----------
    Guo, Pleiss, Sun and Weinberger, On calibration of modern neural networks, 2017
    """
    distance = abs(sums[..., 1] - sums[..., 2]).sum(-1)
    return divide(distance, sums[..., 0].sum(-1), empty=np.nan)


def fit_temperature(truth: NDArray[np.int64], logits: NDArray) -> float:
    """Find the number that logits are to be divided by for the least mean log loss.

    Parameters
    ----------
    truth : int [clips]
        index of the actual class
    logits : float [clips, classes]
        up to a constant of each clip

    Returns
    -------
    float
        over 1 for overconfident probabilities; between 1 / MOST and MOST

    References
    ----------
    Guo, Pleiss, Sun and Weinberger, On calibration of modern neural networks, 2017
    """
    from scipy.optimize import minimize_scalar  # takes longer to import than this module

    clips = np.arange(len(truth))

    def loss(log_temperature: float) -> float:  # convex in 1 / temperature: one minimum
        return -log_softmax(logits / np.exp(log_temperature), axis=1)[clips, truth].mean()

    limit = np.log(MOST)
    best = minimize_scalar(loss, bounds=(-limit, limit), method="bounded")
    return float(np.exp(best.x))
