"""Classical models on functionals: what a support vector machine and its rivals share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import Tensor

from stages.learning.batches import ClipData
from stages.learning.functionals import functional_names, functionals
from stages.learning.learner import Learner, figures
from stages.settings.checks import check


class ClassicalLearner(Learner):
    """An estimator of scikit-learn on standardised functionals.

    A subclass says which, by `_estimator`, and how it scores classes, by `_scores`.

    Parameters
    ----------
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

    def __init__(self, *, limit: float | None, functionals: Sequence[str]) -> None:
        fine = limit is None or limit > 0
        check("model.network.limit", limit, fine, "null or more than 0")
        self._limit, self._functionals = limit, list(functionals)

    @abstractmethod
    def _estimator(self, *, values: int, speakers: Sequence[str], seed: int) -> Any:
        """The estimator, not fitted yet, for so many functionals of clips of these speakers."""

    @abstractmethod
    def _scores(self, vectors: NDArray) -> NDArray:
        """Scores [clips, classes seen] whose softmax are the probabilities."""

    def _learnt(self, solver: Any) -> Mapping[str, NDArray]:
        """What the fitted estimator has learnt, by name: by default weights and a bias."""
        return {"weight": solver.coef_, "bias": solver.intercept_}

    def values(self, data: ClipData) -> int:
        """Count the functionals that these features have.

        Raises
        ------
        ValueError
            naming a functional that they do not have
        """
        return len(functional_names(data.inputs, names=self._functionals))

    def least_memory(self, data: ClipData) -> int:
        """Compute the size in bytes of the functionals, as they are and standardised.

        Raises
        ------
        ValueError
            naming a functional that these features do not have
        """
        return 2 * 4 * len(data.labels) * self.values(data)

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
        fitted = self._solve(data, train, vectors[:number], seed=seed)
        row = {"epoch": 1, **figures("train", truth[:number], self._probabilities(fitted))}
        held_out = self._normalise(data, validation, vectors[number:])
        row |= figures("validation", truth[number:], self._probabilities(held_out))
        if len(validation):
            self._solve(data, clips, vectors, seed=seed)
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
        self, data: ClipData, clips: np.ndarray, vectors: np.ndarray, *, seed: int
    ) -> np.ndarray:
        """Fit to vectors [clips, values]; return them, normalised by their voices if asked."""
        if self.calibration:
            vectors = self.calibration.fit(vectors, data.voices_of(clips))
        limit = self._limit or np.inf
        clip = FunctionTransformer(np.clip, kw_args={"a_min": -limit, "a_max": limit})
        speakers = data.speakers_of(clips)
        solver = self._estimator(values=vectors.shape[1], speakers=speakers, seed=seed)
        self._model = make_pipeline(StandardScaler(), clip, solver).fit(vectors, data.labels[clips])
        return vectors

    def _probabilities(self, vectors: np.ndarray) -> np.ndarray:
        result = np.zeros((len(vectors), self._n_classes))
        if len(vectors):
            result[:, self._model.classes_] = softmax(self._scores(vectors), axis=1)
        return result

    def predict(self, data: ClipData, clips: np.ndarray) -> np.ndarray:
        """Predict probabilities, float64 [clips, classes]; 0 for a class that training lacked."""
        vectors = self.vectors(data, clips)
        return self._probabilities(self._normalise(data, clips, vectors))

    def state(self) -> dict[str, Tensor]:
        """Return the scaler's mean and scale, the classes, and what the solver has learnt."""
        scaler, solver = self._model[0], self._model[-1]
        arrays = {"mean": scaler.mean_, "scale": scaler.scale_, "classes": solver.classes_}
        arrays |= self._learnt(solver)
        if self.calibration:
            learnt = self.calibration.statistics.arrays
            arrays |= {f"speaker_{name}": values for name, values in learnt.items()}
        return {name: torch.tensor(array) for name, array in arrays.items()}
