"""`svm`: a support vector machine on functionals, the baseline of every network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax
from sklearn.metrics.pairwise import polynomial_kernel, rbf_kernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC
from torch import Tensor

from stages.learning.batches import ClipData
from stages.learning.functionals import functional_names, functionals
from stages.learning.learner import Learner, figures
from stages.running.checks import check

KERNELS = {
    "linear": None,
    "polynomial": partial(polynomial_kernel, degree=2, coef0=1.0),
    "rbf": rbf_kernel,
}


class SVM(Learner):
    """A support vector machine on standardised functionals.

    With the linear kernel, one machine per class separates it from the rest; with the others, one
    per pair of classes. Probabilities are the softmax of the margins and are not calibrated.

    Parameters
    ----------
    kernel : linear, polynomial or rbf
        polynomial is (1 + x . y / n)^2 and rbf is exp(-|x - y|^2 / n), of n functionals
    c : float
        cost of a margin violation
    limit : float or None
        largest distance of a functional from its mean, in standard deviations; None: any
    functionals : names
        see stages.learning.functionals.available

    Raises
    ------
    ValueError
        naming a setting that is out of its range
    """

    fits_validation = True
    calibrates = True

    def __init__(
        self, *, kernel: str, c: float, limit: float | None, functionals: Sequence[str]
    ) -> None:
        network = "model.network"
        check(f"{network}.kernel", kernel, kernel in KERNELS, ", ".join(KERNELS))
        check(f"{network}.c", c, c > 0, "more than 0")
        check(f"{network}.limit", limit, limit is None or limit > 0, "null or more than 0")
        self._kernel, self._c, self._limit = kernel, c, limit
        self._functionals = list(functionals)

    def least_memory(self, data: ClipData) -> int:
        """Compute the size in bytes of the functionals, as they are and standardised, and a kernel.

        Raises
        ------
        ValueError
            naming a functional that these features do not have
        """
        values = len(functional_names(data.inputs, names=self._functionals))
        pairs = 0 if self._kernel == "linear" else len(data.labels) ** 2
        return 2 * 4 * len(data.labels) * values + 8 * pairs

    def fit(
        self,
        data: ClipData,
        *,
        train: np.ndarray,
        validation: np.ndarray,
        seed: int,
        logs: Path,
        on_epoch: Callable[[], None],
    ) -> list[dict[str, float]]:
        """Fit on the training clips, which scores the validation clips, then on both.

        See `Learner.fit`; nothing is written to `logs`.
        """
        self._n_classes = data.n_classes
        clips, number = np.concatenate([train, validation]), len(train)
        vectors, truth = self.vectors(data, clips), data.labels[clips]
        speakers = data.voices_of(clips) if self.calibration else []
        fitted = self._solve(vectors[:number], truth[:number], speakers[:number], seed=seed)
        row = {"epoch": 1, **figures("train", truth[:number], self._probabilities(fitted))}
        held_out = self._normalise(data, validation, vectors[number:])
        row |= figures("validation", truth[number:], self._probabilities(held_out))
        if len(validation):
            self._solve(vectors, truth, speakers, seed=seed)
        on_epoch()
        return [row]

    def vectors(self, data: ClipData, clips: np.ndarray) -> np.ndarray:
        """Compute the functionals of clips, [clips, dimensions]."""
        return functionals(data, clips, names=self._functionals)

    def _normalise(self, data: ClipData, clips: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Take what is known of the speakers off vectors of clips that were not trained on."""
        if self.calibration is None:
            return vectors
        represent = partial(self.vectors, data)
        return self.calibration.apply(data, clips, vectors, represent=represent)

    def _solve(
        self, vectors: np.ndarray, truth: np.ndarray, speakers: Sequence[str], *, seed: int
    ) -> np.ndarray:
        """Fit to vectors [clips, values]; return them, normalised by their speakers if asked."""
        if self.calibration:
            vectors = self.calibration.fit(vectors, speakers)
        common = {"C": self._c, "class_weight": "balanced", "random_state": seed}
        if self._kernel == "linear":
            solver = LinearSVC(dual=True, max_iter=20_000, **common)
        else:
            # A matrix of all pairs takes a tenth of the time of SVC's own kernels, pair by pair.
            kernel = partial(KERNELS[self._kernel], gamma=1 / vectors.shape[1])
            solver = SVC(kernel=kernel, **common)
        limit = self._limit or np.inf
        clip = FunctionTransformer(np.clip, kw_args={"a_min": -limit, "a_max": limit})
        self._model = make_pipeline(StandardScaler(), clip, solver).fit(vectors, truth)
        if self._kernel != "linear":  # a solver whose kernel is a function keeps them by number
            self._support = self._model[:-1].transform(vectors[solver.support_])
        return vectors

    def _probabilities(self, vectors: np.ndarray) -> np.ndarray:
        if not len(vectors):
            return np.zeros((0, self._n_classes))
        margins = self._model.decision_function(vectors)
        if margins.ndim == 1:  # two classes have one margin
            margins = np.stack([-margins, margins], axis=1)
        result = np.zeros((len(vectors), self._n_classes))
        result[:, self._model.classes_] = softmax(margins, axis=1)
        return result

    def predict(self, data: ClipData, clips: np.ndarray) -> np.ndarray:
        """Predict probabilities, float64 [clips, classes]; 0 for a class that training lacked."""
        vectors = self.vectors(data, clips)
        return self._probabilities(self._normalise(data, clips, vectors))

    def state(self) -> dict[str, Tensor]:
        """Return the scaler's mean and scale, the classes, and what the solver has learnt."""
        scaler, solver = self._model[0], self._model[-1]
        arrays = {"mean": scaler.mean_, "scale": scaler.scale_, "classes": solver.classes_}
        if self._kernel == "linear":
            arrays |= {"weight": solver.coef_, "bias": solver.intercept_}
        else:
            arrays |= {
                "support_vectors": self._support,
                "weight": solver.dual_coef_,
                "bias": solver.intercept_,
            }
        if self.calibration:
            learnt = self.calibration.statistics.arrays
            arrays |= {f"speaker_{name}": values for name, values in learnt.items()}
        return {name: torch.tensor(array) for name, array in arrays.items()}
