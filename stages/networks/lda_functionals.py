"""`lda_functionals`: linear discriminant analysis of functionals, from scratch."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import NDArray

from stages.learning.batches import ClipData
from stages.learning.classical import ClassicalLearner
from stages.learning.linear import DiscriminantAnalysis
from stages.settings.checks import check


class FunctionalsLDA(ClassicalLearner):
    """Linear discriminant analysis of standardised functionals.

    What differs between the clips of one emotion, as voices do, counts less for it than for a
    support vector machine. The seed has no effect.

    Parameters
    ----------
    shrinkage : float
        see DiscriminantAnalysis in stages.learning.linear
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
        fine = 0 < shrinkage <= 1
        check("model.network.shrinkage", shrinkage, fine, "more than 0, at most 1")
        self._shrinkage = shrinkage

    def least_memory(self, data: ClipData) -> int:
        """The same, in twice the precision, and two covariances; see `Learner.least_memory`."""
        return 2 * super().least_memory(data) + 2 * 8 * self.values(data) ** 2

    def _estimator(
        self, *, values: int, speakers: Sequence[str], seed: int
    ) -> DiscriminantAnalysis:
        return DiscriminantAnalysis(shrinkage=self._shrinkage, speakers=speakers)

    def _scores(self, vectors: NDArray) -> NDArray:
        return self._model[-1].decision_function(self._model[:-1].transform(vectors))
