"""Classification metrics as functions of confusion counts.

Every metric takes confusion matrices with any leading axes, so that one call serves seeds, folds,
speakers and all replicates of a jackknife. Rows are actual classes, columns predicted ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

#: A metric: counts [..., classes, classes] -> values [...], for any leading axes.
Statistic = Callable[[NDArray], NDArray]


def confusion_by_group(
    truth: ArrayLike, predicted: ArrayLike, groups: ArrayLike, *, n_classes: int
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Count (actual, predicted) pairs within each group.

    Parameters
    ----------
    truth : int [clips]
        index of the actual class
    predicted : int [clips, ...]
        index of the predicted class; further axes, such as seeds, are counted apart
    groups : [clips]
        group of each clip, such as its speaker
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
    group, names = pd.factorize(np.asarray(groups), sort=True)  # names are not sorted one by one
    if not len(truth) == len(predicted) == len(group) > 0:
        got = f"{len(truth)}, {len(predicted)} and {len(group)}"
        raise ValueError(f"truth, predicted, groups: got {got} clips, want one equal length over 0")
    for name, indices in (("truth", truth), ("predicted", predicted)):
        if indices.min() < 0 or indices.max() >= n_classes:
            got = f"{indices.min()} to {indices.max()}"
            raise ValueError(f"{name}: got class indices {got}, want 0 to {n_classes - 1}")
    runs = predicted.shape[1:]
    predicted = predicted.reshape(len(truth), -1)
    shape = (len(names), predicted.shape[1], n_classes, n_classes)
    places = (group[:, None], np.arange(predicted.shape[1]), truth[:, None], predicted)
    flat = np.ravel_multi_index(np.broadcast_arrays(*places), shape).ravel()
    counts = np.bincount(flat, minlength=math.prod(shape))
    return names, counts.reshape(len(names), *runs, n_classes, n_classes)


def confusion_matrix(
    truth: ArrayLike, predicted: ArrayLike, *, n_classes: int
) -> NDArray[np.int64]:
    """Count (actual, predicted) pairs of all clips, [..., n_classes, n_classes].

    See `confusion_by_group` for the parameters.
    """
    one_group = np.zeros(len(np.asarray(truth)), dtype=int)
    return confusion_by_group(truth, predicted, one_group, n_classes=n_classes)[1][0]


def recall(confusion: NDArray) -> NDArray[np.float64]:
    """Recall of each class, [..., classes]; NaN for a class without clips."""
    return divide(_hits(confusion), confusion.sum(-1), empty=np.nan)


def precision(confusion: NDArray) -> NDArray[np.float64]:
    """Precision of each class, [..., classes]; 0 for a class that is never predicted."""
    return divide(_hits(confusion), confusion.sum(-2), empty=0.0)


def f1(confusion: NDArray) -> NDArray[np.float64]:
    """F1 score of each class, [..., classes]; 0 for a class neither actual nor predicted."""
    return divide(2 * _hits(confusion), confusion.sum(-1) + confusion.sum(-2), empty=0.0)


def macro(per_class: NDArray, confusion: NDArray) -> NDArray[np.float64]:
    """Average a metric over the classes that have clips.

    Parameters
    ----------
    per_class : float [..., classes]
    confusion : int [..., classes, classes]
        counts that `per_class` was computed from

    Returns
    -------
    float [...]
        NaN without clips
    """
    occurs = confusion.sum(-1) > 0
    return divide(np.where(occurs, per_class, 0.0).sum(-1), occurs.sum(-1), empty=np.nan)


def weighted(per_class: NDArray, confusion: NDArray) -> NDArray[np.float64]:
    """Average a metric over the classes, each weighted by its clips.

    See `macro` for parameters and result. The weighted recall is the accuracy.
    """
    support = confusion.sum(-1)
    products = np.where(support > 0, per_class, 0.0) * support
    return divide(products.sum(-1), support.sum(-1), empty=np.nan)


def one_against_rest(confusion: NDArray) -> NDArray:
    """Reduce a confusion matrix to one 2 x 2 matrix per class, [..., classes, 2, 2].

    Index 0 is the class, index 1 all other classes together. Leading axes are kept.
    """
    hits = _hits(confusion)
    misses, false = confusion.sum(-1) - hits, confusion.sum(-2) - hits
    rest = confusion.sum((-2, -1))[..., None] - hits - misses - false
    table = np.stack([hits, misses, false, rest], axis=-1)
    return table.reshape(*table.shape[:-1], 2, 2)


def matthews(confusion: NDArray) -> NDArray[np.float64]:
    """Matthews correlation of actual and predicted class, [...], in [-1, 1].

    It is 0 where it is undefined, because all clips have one class or all predictions do, and NaN
    without clips.

    References
    ----------
    Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient, 2004;
    sklearn.metrics.matthews_corrcoef, equal to 1e-12
    """
    actual, predicted = confusion.sum(-1).astype(float), confusion.sum(-2).astype(float)
    n = actual.sum(-1)
    covariance = _hits(confusion).sum(-1) * n - (actual * predicted).sum(-1)
    variances = [n**2 - (sums**2).sum(-1) for sums in (actual, predicted)]
    value = divide(covariance, np.sqrt(variances[0] * variances[1]), empty=0.0)
    return np.where(n > 0, value, np.nan)


def unweighted_accuracy(confusion: NDArray) -> NDArray[np.float64]:
    """Mean recall over the classes that have clips (UA, UAR), [...].

    References
    ----------
    sklearn.metrics.balanced_accuracy_score, equal to 1e-12
    """
    return macro(recall(confusion), confusion)


def accuracy(confusion: NDArray) -> NDArray[np.float64]:
    """Fraction of clips recognised (weighted accuracy, WA), [...]; NaN without clips."""
    return divide(_hits(confusion).sum(-1), confusion.sum((-2, -1)), empty=np.nan)


def divide(numerator: ArrayLike, denominator: ArrayLike, *, empty: float) -> NDArray[np.float64]:
    """Divide element by element; `empty` where the denominator is 0."""
    quotient = np.full(np.shape(denominator), empty, dtype=float)
    return np.divide(numerator, denominator, out=quotient, where=np.asarray(denominator) > 0)


def _hits(confusion: NDArray) -> NDArray:
    return np.diagonal(confusion, axis1=-2, axis2=-1)
