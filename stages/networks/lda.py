"""`lda`: linear discriminant analysis of means and deviations over time, solved in one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from stages.learning.layers import InputLayer, Normalisation, mean_and_std
from stages.learning.linear import DiscriminantAnalysis
from stages.settings.checks import check, check_range

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


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
        see DiscriminantAnalysis in stages.learning.linear
    deviations : int by feature
        how many dimensions of a feature, from the first, count by their deviation as well as by
        their mean. Of features that are not named, all do; others have no effect

    Raises
    ------
    ValueError
        naming a setting that is out of its range
    """

    def __init__(
        self,
        inputs: Mapping[str, int],
        n_classes: int,
        *,
        normalisation: Normalisation,
        shrinkage: float,
        deviations: Mapping[str, int],
    ) -> None:
        super().__init__()
        setting = "model.network"
        check(f"{setting}.normalisation", normalisation, normalisation == "fold", "fold")
        fine = 0 < shrinkage <= 1
        check(f"{setting}.shrinkage", shrinkage, fine, "more than 0, at most 1")
        for name, number in deviations.items():
            check_range(f"{setting}.deviations.{name}", number, low=0)
        self.input = InputLayer(inputs, normalisation=normalisation)
        varied = [
            number < deviations.get(name, size)
            for name, size in inputs.items()
            for number in range(size)
        ]
        self._means_and_deviations = [True] * len(varied) + varied
        self.classifier = nn.Linear(sum(self._means_and_deviations), n_classes)
        self._shrinkage = shrinkage

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Return logits [batch, classes] of features [batch, frames, dimensions]."""
        values = torch.cat(list(self.input(features, lengths).values()), dim=2)
        vectors = mean_and_std(values, lengths)
        return self.classifier(vectors[:, self._means_and_deviations])  # [batch, classes]

    def solver(self, speakers: Sequence[str]) -> Pipeline:
        """The estimator that finds the weights of `classifier`; all classes count equally.

        Means and deviations are standardised first, as covariances are shrunk towards one variance
        for all of them.

        Parameters
        ----------
        speakers : sequence of str
            of the clips that it is fitted to
        """
        # Takes a second to import, which applying the network is spared.
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        analysis = DiscriminantAnalysis(shrinkage=self._shrinkage, speakers=speakers)
        return make_pipeline(StandardScaler(), analysis)
