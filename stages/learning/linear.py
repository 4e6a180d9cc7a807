"""Linear layers whose weights an estimator of scikit-learn finds in one step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

if TYPE_CHECKING:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis


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


def discriminant_analysis(
    truth: NDArray[np.int64], *, shrinkage: float
) -> LinearDiscriminantAnalysis:
    """Linear discriminant analysis, not fitted yet; all classes count equally.

    Parameters
    ----------
    truth : int64 [clips]
        classes to be fitted to
    shrinkage : float
        from 0, all covariances within the emotions as they were measured, to 1, none of them

    References
    ----------
    Friedman, "Regularized discriminant analysis", 1989
    """
    # Takes a second to import, which applying a network is spared.
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    classes = len(np.unique(truth))
    return LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage=shrinkage, priors=np.full(classes, 1 / classes)
    )
