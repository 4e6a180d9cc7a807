"""`svm`: a linear support vector machine on functionals; what any network has to beat."""

from __future__ import annotations

import math
from collections.abc import Sequence

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


class LinearSVM:
    """One linear SVM per class against the rest, on standardised functionals.

    Has the face of stages.learning.training.NetworkLearner. Its probabilities are the softmax of
    the margins: their order is the SVM's, their size is not calibrated.

    Parameters
    ----------
    c : float
        cost of a margin violation
    functionals : names
        see stages.learning.functionals.available
    """

    #: What it answers for validation clips in the end is of clips that it was fitted on.
    fits_validation = True

    def __init__(self, *, c: float, functionals: Sequence[str]) -> None:
        self._c, self._functionals = c, list(functionals)

    def least_memory(self, data: ClipData) -> int:
        """Bytes that fitting takes at least: the functionals as they are, and standardised."""
        values = len(functional_names(data.inputs, names=self._functionals))
        return 2 * 4 * len(data.labels) * values

    def fit(
        self, data: ClipData, *, train: np.ndarray, validation: np.ndarray, seed: int
    ) -> list[dict]:
        """Fit on the training clips to score the validation clips, then on both: nothing is chosen.

        Parameters
        ----------
        data : ClipData
        train, validation : int64 [n]
            positions in the data
        seed : int
            of the solver

        Returns
        -------
        list of one dict
            losses and UA of training and validation, as epoch 1; NaN where no clip validates
        """
        self._n_classes = data.n_classes
        vectors = functionals(data, np.concatenate([train, validation]), names=self._functionals)
        truth = data.labels[np.concatenate([train, validation])]
        self._solve(vectors[: len(train)], truth[: len(train)], seed=seed)
        row = {"epoch": 1, "validation_loss": math.nan, "validation_ua": math.nan}
        for part, where in (
            ("train", slice(None, len(train))),
            ("validation", slice(len(train), None)),
        ):
            if not len(truth[where]):
                continue
            probabilities = self._probabilities(vectors[where])
            row[f"{part}_loss"] = log_loss(
                truth[where], probabilities, labels=range(self._n_classes)
            )
            row[f"{part}_ua"] = recall_score(
                truth[where],
                probabilities.argmax(axis=1),
                labels=np.unique(truth[where]),
                average="macro",
            )
        if len(validation):
            self._solve(vectors, truth, seed=seed)
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
        """Probabilities [clips, classes]; 0 for a class that training lacked."""
        return self._probabilities(functionals(data, clips, names=self._functionals))

    def state(self) -> dict[str, Tensor]:
        """What the trained model consists of, by name."""
        scaler, solver = self._model["standardscaler"], self._model["linearsvc"]
        arrays = {
            "mean": scaler.mean_,
            "scale": scaler.scale_,
            "classes": solver.classes_,
            "weight": solver.coef_,
            "bias": solver.intercept_,
        }
        return {name: torch.tensor(array) for name, array in arrays.items()}
