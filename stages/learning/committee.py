"""Late fusion: models that are trained on the same clips, and the average of what they predict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.learning.batches import ClipData
from stages.learning.learner import Learner, Part, figures
from stages.settings.checks import check

WEIGHTS = ("equal", "validation")
_ITERATIONS = 1000  # after which a weight moves by less than 1e-3


class Committee(Learner):
    """Several models whose probabilities are averaged.

    All of them are fitted in one job, so they share its folds, labels and seed.

    Parameters
    ----------
    members : Part by name
        kept as the attribute `members`
    weights : equal or validation
        of the members in the average; validation: those with the lowest cross-entropy on the
        validation clips

    Raises
    ------
    ValueError
        naming a setting that is out of its range
    """

    def __init__(self, members: Mapping[str, Part], *, weights: str) -> None:
        check("model.members", list(members), len(members) > 0, "at least one member")
        check("model.network.weights", weights, weights in WEIGHTS, " or ".join(WEIGHTS))
        self.members, self._choose = members, weights == "validation"
        self.epochs = sum(part.learner.epochs for part in members.values())
        self.calibrates = all(part.learner.calibrates for part in members.values())
        self.fits_validation = any(part.learner.fits_validation for part in members.values())

    def least_memory(self, data: ClipData) -> int:
        """Estimate the memory of the member that needs most, in bytes; they are fitted in turn."""
        needs = []
        for part in self.members.values():
            view = part.view(data)
            with part.named():
                needs.append(part.learner.least_memory(view))
        return max(needs)

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
        """Fit all members; see `Learner.fit`. The history is one row, of the average.

        The figures and the weights are those of members that were fitted to the training clips
        alone. Members whose final fit includes the validation clips are then fitted again.
        """
        fit: dict[str, Any] = {"train": train, "seed": seed, "logs": logs}
        self.fit_to_train(data, validation=validation, on_epoch=on_epoch, **fit)
        row: dict[str, float] = {"epoch": 1}
        for subset, clips in (("train", train), ("validation", validation)):
            row |= figures(subset, data.labels[clips], self.predict(data, clips))
        for name, part in self.members.items():
            if part.learner.fits_validation and len(validation):
                self._fit(name, data, validation=validation, on_epoch=lambda: None, **fit)
        return [row]

    def fit_to_train(
        self,
        data: ClipData,
        *,
        train: np.ndarray,
        validation: np.ndarray,
        seed: int,
        logs: Path,
        on_epoch: Callable[[], None],
    ) -> None:
        """Fit all members to the training clips alone, and choose the weights; see `fit`.

        The validation clips choose no more than the epoch that a network keeps, if its settings
        say so, and the weights.

        Raises
        ------
        ValueError
            if the weights need validation clips and there are none; naming a member that fails
        """
        fine = len(validation) > 0 or not self._choose
        want = "equal where no clip validates (split.validation 0)"
        check("model.network.weights", "validation", fine, want)
        for name, part in self.members.items():
            heard = validation[:0] if part.learner.fits_validation else validation
            fit: dict[str, Any] = {"train": train, "seed": seed, "logs": logs}
            self._fit(name, data, validation=heard, on_epoch=on_epoch, **fit)
        self.weights = np.full(len(self.members), 1 / len(self.members))
        if self._choose:
            answers = self._answers(data, validation)  # [members, clips, classes]
            truth = data.labels[validation]
            self.weights = mixture_weights(answers[:, np.arange(len(truth)), truth])

    def _fit(self, name: str, data: ClipData, *, logs: Path, **settings: Any) -> None:
        part = self.members[name]
        view = part.view(data)
        with part.named():
            part.learner.fit(view, logs=logs / name, **settings)

    def _answers(self, data: ClipData, clips: np.ndarray) -> np.ndarray:
        """Predict with every member, float64 [members, clips, classes]."""
        parts = self.members.values()
        return np.stack([part.learner.predict(part.view(data), clips) for part in parts])

    def predict(self, data: ClipData, clips: np.ndarray) -> np.ndarray:
        """Average the probabilities of the members, float64 [clips, classes]."""
        return np.tensordot(self.weights, self._answers(data, clips), axes=1)

    def state(self) -> dict[str, Tensor]:
        """Return what each member has learnt, as <member>.<name>, and their `weights`."""
        state = {"weights": torch.tensor(self.weights)}
        for name, part in self.members.items():
            state |= {f"{name}.{key}": value for key, value in part.learner.state().items()}
        return state


def mixture_weights(likelihoods: np.ndarray) -> np.ndarray:
    """Find the weights of an average with the lowest cross-entropy, float64 [members].

    Parameters
    ----------
    likelihoods : float64 [members, clips]
        probability of the true class

    Returns
    -------
    float64 [members]
        at least 0, with the sum 1

    References
    ----------
    Dempster, Laird, Rubin, "Maximum likelihood from incomplete data via the EM algorithm", 1977:
    the weights of a mixture whose components are known
    """
    likelihoods = likelihoods.clip(np.finfo(float).tiny)
    weights = np.full(len(likelihoods), 1 / len(likelihoods))
    for _ in range(_ITERATIONS):
        shares = weights[:, None] * likelihoods
        weights = (shares / shares.sum(axis=0)).mean(axis=1)
    return weights / weights.sum()
