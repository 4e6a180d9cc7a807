"""`svm`: a support vector machine on functionals, the baseline of every network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics.pairwise import polynomial_kernel, rbf_kernel
from sklearn.svm import SVC, LinearSVC

from stages.learning.batches import ClipData
from stages.learning.classical import ClassicalLearner
from stages.settings.checks import check

KERNELS = {
    "linear": None,
    "polynomial": partial(polynomial_kernel, degree=2, coef0=1.0),
    "rbf": rbf_kernel,
}


class SVM(ClassicalLearner):
    """A support vector machine on standardised functionals.

    With the linear kernel, one machine per class separates it from the rest; with the others, one
    per pair of classes. Probabilities are the softmax of the margins and are not calibrated.

    Parameters
    ----------
    kernel : linear, polynomial or rbf
        polynomial is (1 + x . y / n)^2 and rbf is exp(-|x - y|^2 / n), of n functionals
    c : float
        cost of a margin violation
    limit, functionals
        see ClassicalLearner

    Raises
    ------
    ValueError
        naming a setting that is out of its range
    """

    def __init__(
        self, *, kernel: str, c: float, limit: float | None, functionals: Sequence[str]
    ) -> None:
        super().__init__(limit=limit, functionals=functionals)
        network = "model.network"
        check(f"{network}.kernel", kernel, kernel in KERNELS, ", ".join(KERNELS))
        check(f"{network}.c", c, c > 0, "more than 0")
        self._kernel, self._c = kernel, c

    def least_memory(self, data: ClipData) -> int:
        """The same and a kernel; see `Learner.least_memory`."""
        pairs = 0 if self._kernel == "linear" else len(data.labels) ** 2
        return super().least_memory(data) + 8 * pairs

    def _estimator(self, *, values: int, speakers: Sequence[str], seed: int) -> SVC | LinearSVC:
        common = {"C": self._c, "class_weight": "balanced", "random_state": seed}
        if self._kernel == "linear":
            return LinearSVC(dual=True, max_iter=20_000, **common)
        # A matrix of all pairs takes a tenth of the time of SVC's own kernels, pair by pair.
        return SVC(kernel=partial(KERNELS[self._kernel], gamma=1 / values), **common)

    def _solve(self, data: ClipData, clips: NDArray, vectors: NDArray, *, seed: int) -> NDArray:
        vectors = super()._solve(data, clips, vectors, seed=seed)
        if self._kernel != "linear":  # a solver whose kernel is a function keeps them by number
            self._support = self._model[:-1].transform(vectors[self._model[-1].support_])
        return vectors

    def _scores(self, vectors: NDArray) -> NDArray:
        margins = self._model.decision_function(vectors)
        if margins.ndim == 1:  # two classes have one margin
            margins = np.stack([-margins, margins], axis=1)
        return margins

    def _learnt(self, solver: SVC | LinearSVC) -> Mapping[str, NDArray]:
        if self._kernel == "linear":
            return super()._learnt(solver)
        return {
            "support_vectors": self._support,
            "weight": solver.dual_coef_,
            "bias": solver.intercept_,
        }
