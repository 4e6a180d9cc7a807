"""`lda_functionals`: linear discriminant analysis of functionals, from scratch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from stages.learning.batches import ClipData
from stages.learning.classical import ClassicalLearner
from stages.learning.linear import discriminant_analysis
from stages.running.checks import check_range


class FunctionalsLDA(ClassicalLearner):
    """Linear discriminant analysis of standardised functionals.

    What differs between the clips of one emotion, as voices do, counts less for it than for a
    support vector machine. The seed has no effect.

    Parameters
    ----------
    shrinkage : float
        from 0, all covariances within the emotions as they were measured, to 1, none of them
    limit, functionals
        see ClassicalLearner

    Raises
    ------
    ValueError
        naming a setting that is out of its range
    """

    def __init__(
        self, *, shrinkage: float, limit: float | None, functionals: Sequence[str]
    ) -> None:
        super().__init__(limit=limit, functionals=functionals)
        check_range("model.network.shrinkage", shrinkage, low=0, high=1)
        self._shrinkage = shrinkage

    def least_memory(self, data: ClipData) -> int:
        """The same and what solving for the weights takes; see `Learner.least_memory`."""
        covariance = 8 * self.values(data) ** 2
        return super().least_memory(data) + 3 * covariance  # that of one emotion, the mean, a copy

    def _estimator(
        self, truth: NDArray[np.int64], *, values: int, seed: int
    ) -> LinearDiscriminantAnalysis:
        return discriminant_analysis(truth, shrinkage=self._shrinkage)

    def _scores(self, vectors: NDArray) -> NDArray:
        return self._model.predict_log_proba(vectors)
