"""`lda`: linear discriminant analysis of means and deviations over time, solved in one step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.learning.layers import InputLayer, Normalisation, mean_and_std
from stages.running.checks import check, check_range

if TYPE_CHECKING:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis


class LDA(nn.Module):
    """Mean and standard deviation of every dimension over a clip, and a linear layer.

    The layer is not trained step by step: `solver` finds its weights. What differs between the
    clips of one emotion, as voices do, counts less for it, which is why it suits features that tell
    voices apart.

    Parameters
    ----------
    inputs : dimensions by feature
        any set of features
    n_classes : int
    normalisation : fold
        see InputLayer; the others would leave nothing of an average
    shrinkage : float
        from 0, all covariances within the emotions as they were measured, to 1, none of them

    References
    ----------
    Friedman, "Regularized discriminant analysis", 1989
    """

    def __init__(
        self,
        inputs: Mapping[str, int],
        n_classes: int,
        *,
        normalisation: Normalisation,
        shrinkage: float,
    ) -> None:
        super().__init__()
        setting = "model.network"
        check(f"{setting}.normalisation", normalisation, normalisation == "fold", "fold")
        check_range(f"{setting}.shrinkage", shrinkage, low=0, high=1)
        self.input = InputLayer(inputs, normalisation=normalisation)
        self.classifier = nn.Linear(2 * sum(inputs.values()), n_classes)
        self._shrinkage = shrinkage

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Return logits [batch, classes] of features [batch, frames, dimensions]."""
        values = torch.cat(list(self.input(features, lengths).values()), dim=2)
        return self.classifier(mean_and_std(values, lengths))  # [batch, classes]

    def solver(self, truth: NDArray[np.int64]) -> LinearDiscriminantAnalysis:
        """The estimator that finds the weights of `classifier`; all classes count equally."""
        # Takes a second to import, which applying the network is spared.
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        classes = len(np.unique(truth))
        return LinearDiscriminantAnalysis(
            solver="lsqr", shrinkage=self._shrinkage, priors=np.full(classes, 1 / classes)
        )
