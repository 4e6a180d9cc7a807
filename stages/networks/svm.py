"""`svm`: a linear support vector machine on functionals, the baseline of every network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax
from sklearn.metrics import log_loss, recall_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import Tensor

from stages.learning.batches import ClipData
from stages.learning.functionals import functional_names, functionals
from stages.learning.learner import Learner


class LinearSVM(Learner):
    """One linear SVM per class against the rest, on standardised functionals.

    Probabilities are the softmax of the margins and are not calibrated.

    Parameters
    ----------
    c : float
        cost of a margin violation
    functionals : names
        see stages.learning.functionals.available
    """

    fits_validation = True

    def __init__(self, *, c: float, functionals: Sequence[str]) -> None:
        self._c, self._functionals = c, list(functionals)

    def least_memory(self, data: ClipData) -> int:
        """Compute the size of the functionals as they are and standardised, in bytes.

        Raises
        ------
        ValueError
            naming a functional that these features do not have
        """
        values = len(functional_names(data.inputs, names=self._functionals))
        return 2 * 4 * len(data.labels) * values

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
        clips = np.concatenate([train, validation])
        vectors = functionals(data, clips, names=self._functionals)
        truth = data.labels[clips]
        self._solve(vectors[: len(train)], truth[: len(train)], seed=seed)
        row = {"epoch": 1, "validation_loss": math.nan, "validation_ua": math.nan}
        for part, rows in (
            ("train", slice(None, len(train))),
            ("validation", slice(len(train), None)),
        ):
            if not len(truth[rows]):
                continue
            probabilities = self._probabilities(vectors[rows])
            row[f"{part}_loss"] = log_loss(
                truth[rows], probabilities, labels=range(self._n_classes)
            )
            row[f"{part}_ua"] = recall_score(
                truth[rows],
                probabilities.argmax(axis=1),
                labels=np.unique(truth[rows]),
                average="macro",
            )
        if len(validation):
            self._solve(vectors, truth, seed=seed)
        on_epoch()
        return [row]

    def _solve(self, vectors: np.ndarray, truth: np.ndarray, *, seed: int) -> None:
        solver = LinearSVC(
            C=self._c, class_weight="balanced", dual=True, random_state=seed, max_iter=20_000
        )
        self._model = make_pipeline(StandardScaler(), solver).fit(vectors, truth)

    def _probabilities(self, vectors: np.ndarray) -> np.ndarray:
        margins = self._model.decision_function(vectors)
        if margins.ndim == 1:  # two classes have one margin
            margins = np.stack([-margins, margins], axis=1)
        result = np.zeros((len(vectors), self._n_classes))
        result[:, self._model.classes_] = softmax(margins, axis=1)
        return result

    def predict(self, data: ClipData, clips: np.ndarray) -> np.ndarray:
        """Predict probabilities, float64 [clips, classes]; 0 for a class that training lacked."""
        return self._probabilities(functionals(data, clips, names=self._functionals))

    def state(self) -> dict[str, Tensor]:
        """Return the scaler's mean and scale, and the solver's classes, weight and bias."""
        scaler, solver = self._model["standardscaler"], self._model["linearsvc"]
        arrays = {
            "mean": scaler.mean_,
            "scale": scaler.scale_,
            "classes": solver.classes_,
            "weight": solver.coef_,
            "bias": solver.intercept_,
        }
        return {name: torch.tensor(array) for name, array in arrays.items()}
