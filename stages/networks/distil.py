"""`distil`: a network that is trained on what other models predict for the training clips."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from sklearn.model_selection import GroupKFold
from torch import Tensor

from stages.learning.batches import ClipData
from stages.learning.committee import Committee
from stages.learning.learner import Learner, Part, only_student
from stages.settings.checks import check, check_range


class Distil(Learner):
    """A teacher, which is the average of its members, and a student, which is kept.

    Both are trained in one job, so the teacher of a fold never hears the fold's test clips. Nor is
    it fitted to the validation clips, which therefore judge the student fairly.

    Parameters
    ----------
    members : Part by name
        of the teacher
    student : Part by name
        one network; the checkpoint describes it alone
    weights : equal or validation
        see Committee
    crossfit : int
        groups of training speakers, each of which a teacher predicts that was trained on the
        others; 1: the teacher is trained on all and predicts clips that it has heard, which gives
        it more clips, but makes its predictions overconfident
    temperature : float
        predicted probabilities are raised to the power 1 / temperature and normalised; more than 1
        makes them softer
    fraction : float
        of the predictions in the targets of the student; the labels are the rest

    Raises
    ------
    ValueError
        naming a setting that is out of its range

    References
    ----------
    Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network", 2015. There, the student
    has a temperature as well; here, its probabilities become as soft as its targets.
    """

    def __init__(
        self,
        members: Mapping[str, Part],
        student: Mapping[str, Part],
        *,
        weights: str,
        crossfit: int,
        temperature: float,
        fraction: float,
    ) -> None:
        network = "model.network"
        check_range(f"{network}.crossfit", crossfit, low=1)
        check(f"{network}.temperature", temperature, temperature > 0, "more than 0")
        check_range(f"{network}.fraction", fraction, low=0, high=1)
        self._teacher = Committee(members, weights=weights)
        self._student: Part = only_student(student)
        kind = type(self._student.learner).__name__
        fine = self._student.network and not self._student.learner.solved
        check(f"{self._student.setting}.model", kind, fine, "a network that is trained in steps")
        self._crossfit, self._temperature, self._fraction = crossfit, temperature, fraction
        self.epochs = crossfit * self._teacher.epochs + self._student.learner.epochs

    def least_memory(self, data: ClipData) -> int:
        """Estimate the memory of the teacher or the student, in bytes; they are fitted in turn."""
        view = self._student.view(data)
        with self._student.named():
            need = self._student.learner.least_memory(view)
        return max(need, self._teacher.least_memory(data))

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
        """Fit the teacher, then the student; see `Learner.fit`. The history is the student's.

        Raises
        ------
        ValueError
            if there are fewer training speakers than groups; naming a member or a student that
            fails
        """
        targets = np.eye(data.n_classes)[data.labels]
        for group, (heard, predicted) in enumerate(self._groups(data, train)):
            self._teacher.fit_to_train(
                data,
                train=heard,
                validation=validation,
                seed=seed,
                logs=logs / f"teacher_{group}",
                on_epoch=on_epoch,
            )
            soft = self._teacher.predict(data, predicted) ** (1 / self._temperature)
            soft /= soft.sum(axis=1, keepdims=True)
            targets[predicted] += self._fraction * (soft - targets[predicted])
        view = dataclasses.replace(self._student.view(data), targets=targets.astype(np.float32))
        with self._student.named():
            return self._student.learner.fit(
                view, train=train, validation=validation, seed=seed, logs=logs, on_epoch=on_epoch
            )

    def _groups(self, data: ClipData, train: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """List the clips that each teacher is trained on, and those that it predicts."""
        if self._crossfit == 1:
            return [(train, train)]
        speakers = np.asarray(data.speakers)[train]
        count = len(np.unique(speakers))
        want = f"at most {count}, the number of training speakers"
        check("model.network.crossfit", self._crossfit, self._crossfit <= count, want)
        groups = GroupKFold(self._crossfit).split(train, groups=speakers)
        return [(train[heard], train[predicted]) for heard, predicted in groups]

    def predict(self, data: ClipData, clips: np.ndarray) -> np.ndarray:
        """Predict with the student, float64 [clips, classes]."""
        return self._student.learner.predict(self._student.view(data), clips)

    def state(self) -> dict[str, Tensor]:
        """Return what the student has learnt."""
        return self._student.learner.state()
