"""Linear layers whose weights an estimator finds in one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import linalg
from torch import nn

from stages.metrics.probabilities import fit_temperature

_PARTS = 4  # of the speakers, each of which is left out once


def solve(layer: nn.Linear, vectors: NDArray, truth: NDArray[np.int64], *, solver: Any) -> None:
    """Give a layer the weights that a linear estimator of scikit-learn finds.

    A class without a training clip gets the lowest logit.

    Parameters
    ----------
    layer : Linear
    vectors : float [clips, dimensions]
    truth : int64 [clips]
        classes
    solver : estimator
        or a pipeline of a StandardScaler and an estimator
    """
    solver.fit(vectors, truth)
    *scalers, estimator = getattr(solver, "named_steps", {"": solver}).values()
    weight, bias = estimator.coef_, estimator.intercept_
    for scaler in scalers:
        weight = weight / scaler.scale_
        bias = bias - weight @ scaler.mean_
    if len(weight) == 1:  # two classes have one margin
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.fill_(-100.0)
        layer.weight[solver.classes_] = torch.as_tensor(weight).to(layer.weight)
        layer.bias[solver.classes_] = torch.as_tensor(bias).to(layer.bias)


class DiscriminantAnalysis:
    """Linear discriminant analysis with a shrunken covariance; all classes count equally.

    It finds what scikit-learn's LinearDiscriminantAnalysis finds by least squares, which takes ten
    times as long for thousands of values, and does not always converge. Its probabilities are far
    too sure, as if each value told something of its own. So scores are divided by a temperature,
    fitted to what analyses without some of the speakers say of these. It changes no answer.

    Parameters
    ----------
    shrinkage : float
        more than 0, hardly any, to 1: all covariances are taken to be 0, and variances to be equal
    speakers : sequence of str
        of the vectors that it is fitted to; without two of them, the temperature is 1

    Attributes
    ----------
    classes_ : int64 [classes]
        those that it was fitted to
    coef_, intercept_ : float64 [classes, values], [classes]

    References
    ----------
    Friedman, "Regularized discriminant analysis", 1989
    """

    def __init__(self, *, shrinkage: float, speakers: Sequence[str]) -> None:
        self._shrinkage, self._speakers = shrinkage, speakers

    def fit(self, vectors: NDArray, truth: NDArray[np.int64]) -> DiscriminantAnalysis:
        """Find the weights for vectors [clips, values] and their classes [clips].

        Raises
        ------
        ValueError
            if no class has two clips
        """
        if len(truth) == len(np.unique(truth)):
            raise ValueError(
                f"training clips: got {len(truth)}, one of each class, want two or more of one, "
                "which tell how clips of a class differ"
            )
        self._solve(vectors.astype(np.float64), truth)
        parts = min(_PARTS, len(set(self._speakers)))
        if parts > 1:
            temperature = self._temperature(vectors, truth, parts=parts)
            self.coef_ /= temperature
            self.intercept_ /= temperature
        return self

    def _temperature(self, vectors: NDArray, truth: NDArray[np.int64], *, parts: int) -> float:
        """Temperature of speakers that are left out, part by part."""
        # Takes a second to import, which applying the weights is spared.
        from sklearn.model_selection import GroupKFold

        scores = np.full((len(truth), len(self.classes_)), -np.inf)
        for rest, part in GroupKFold(parts).split(vectors, groups=self._speakers):
            analysis = DiscriminantAnalysis(shrinkage=self._shrinkage, speakers=())
            try:
                analysis._solve(vectors[rest].astype(np.float32), truth[rest])  # exact enough
            except linalg.LinAlgError:  # one clip of each class, or hardly any shrinkage
                continue
            known = np.isin(self.classes_, analysis.classes_)
            scores[np.ix_(part, known)] = analysis.decision_function(vectors[part])
        index = np.searchsorted(self.classes_, truth)
        told = np.isfinite(scores[np.arange(len(index)), index])  # a class may have one speaker
        return fit_temperature(index[told], scores[told]) if told.any() else 1.0

    def _solve(self, vectors: NDArray, truth: NDArray[np.int64]) -> None:
        self.classes_, index, counts = np.unique(truth, return_inverse=True, return_counts=True)
        means = np.stack([vectors[index == number].mean(axis=0) for number in range(len(counts))])
        apart = (vectors - means[index]) / np.sqrt(counts * len(counts))[index, None]
        covariance = (1 - self._shrinkage) * (apart.T @ apart)
        covariance += (
            self._shrinkage * np.square(apart).sum() / len(covariance) * np.eye(len(covariance))
        )
        self.coef_ = linalg.solve(covariance, means.T, assume_a="pos").T
        self.intercept_ = -np.vecdot(self.coef_, means) / 2

    def decision_function(self, vectors: NDArray) -> NDArray[np.float64]:
        """Scores [clips, classes], of which the softmax are the probabilities."""
        return vectors @ self.coef_.T + self.intercept_
