"""The interface of everything that learns, and the one place where settings become a learner."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor, nn

from stages.learning.batches import ClipData
from stages.learning.speaker_statistics import SpeakerCalibration
from stages.settings.checks import check, named
from stages.settings.loading import bind


class Learner(Protocol):
    """A model that is fitted to clips and predicts others.

    The training of networks, stages.learning.training.NetworkLearner, and every classical model
    in stages.networks implement it. An implementation that inherits from it states only what
    differs from the values below.

    Attributes
    ----------
    epochs : int
        largest number of epochs that `fit` makes
    solved : bool
        whether weights are solved for in one step, which heeds labels and no `targets` of the data
    fits_validation : bool
        whether the final fit includes the validation clips
    warm_start : str or None
        checkpoint whose weights `fit` starts from
    calibrates : bool
        whether it can normalise clips by their speakers, as `calibration` says. A single model
        then has a method `vectors(data, clips)`, which computes what is normalised, float
        [clips, dimensions]
    calibration : SpeakerCalibration or None
        set by `build_learner`; None: nothing is known of speakers
    on_share : callable
        called with the share of an epoch that is done, by learners whose epochs take long
    rescued : int or None
        best epoch before `fit` raised an error, whose weights `state` then returns; None if there
        is no such epoch
    """

    epochs: int = 1
    solved: bool = False
    fits_validation: bool = False
    warm_start: str | None = None
    calibrates: bool = False
    calibration: SpeakerCalibration | None = None
    on_share: Callable[[float], None] = staticmethod(lambda _: None)
    rescued: int | None = None

    def least_memory(self, data: ClipData) -> int:
        """Estimate from below the memory that `fit` needs, in bytes.

        Raises
        ------
        ValueError
            naming a setting that these features do not support
        """
        ...

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
        """Fit the model to the training clips.

        Parameters
        ----------
        data : ClipData
        train, validation : int64 [n]
            positions in the data; no clip need validate
        seed : int
            of everything that is random
        logs : Path
            folder for TensorBoard logs
        on_epoch : callable
            called after every epoch

        Returns
        -------
        list of dict
            one per epoch: epoch, train_loss, train_ua, validation_loss and validation_ua; losses
            are plain cross-entropy in nats, validation figures NaN where no clip validates

        Raises
        ------
        ValueError
            if the settings or the clips do not allow a fit
        """
        ...

    def predict(self, data: ClipData, clips: np.ndarray) -> np.ndarray:
        """Predict the probability of each class, float64 [clips, classes].

        Parameters
        ----------
        data : ClipData
        clips : int64 [clips]
            positions in the data
        """
        ...

    def state(self) -> dict[str, Tensor]:
        """Return everything that was learnt, by name, in the memory of the CPU."""
        ...


class Part(NamedTuple):
    """One of several models that are trained in the same job.

    Attributes
    ----------
    setting : str
        where its settings stand, such as model.members.svm
    learner : Learner
    features : list of str
        those that it hears, some of the features of the job
    network : bool
        whether it is one; see `is_network`
    """

    setting: str
    learner: Learner
    features: list[str]
    network: bool

    def view(self, data: ClipData) -> ClipData:
        """Restrict the data to the features that the model hears.

        Raises
        ------
        ValueError
            naming the features that the data lack
        """
        missing = [name for name in self.features if name not in data.caches]
        fine = bool(self.features) and not missing
        check(f"{self.setting}.features", self.features, fine, f"some of {list(data.caches)}")
        caches = {name: data.caches[name] for name in self.features}
        return dataclasses.replace(data, caches=caches)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Name the model in a ValueError that it raises."""
        with named(self.setting):
            yield


def figures(part: str, truth: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Compute <part>_loss, the cross-entropy in nats, and <part>_ua; NaN without clips.

    Parameters
    ----------
    part : train or validation
    truth : int64 [clips]
    probabilities : float [clips, classes]
    """
    if not len(truth):
        return {f"{part}_loss": math.nan, f"{part}_ua": math.nan}
    smallest = np.finfo(probabilities.dtype).eps
    likelihood = probabilities[np.arange(len(truth)), truth].clip(smallest, 1 - smallest)
    correct = probabilities.argmax(axis=1) == truth
    recalls = [correct[truth == label].mean() for label in np.unique(truth)]
    return {
        f"{part}_loss": float(-np.log(likelihood).mean()),
        f"{part}_ua": float(np.mean(recalls)),
    }


def is_network(model: Mapping[str, Any]) -> bool:
    """Tell whether the section `model` of the parameters describes a network.

    A network is an nn.Module, which the section `train` trains. Any other model is classical: its
    class implements `Learner`.
    """
    kind: Any = bind(model["network"], "networks").func
    return issubclass(kind, nn.Module)


def described(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Select the sections that describe what is kept of a training.

    They are those of the whole training, or where a student learns from a teacher, its own.

    Parameters
    ----------
    settings : mapping
        sections `features`, `model` and `train` of the parameters, and any others

    Raises
    ------
    ValueError
        if there is a number of students other than one
    """
    if "student" not in settings["model"]:
        return settings
    student = only_student(settings["model"]["student"])
    features = {name: settings["features"].get(name) for name in student["features"]}
    return {**settings, "features": features, "model": student["model"], "train": student["train"]}


def only_student(students: Mapping[str, Any]) -> Any:
    """Return the one student among those that are chosen."""
    check("model.student", list(students), len(students) == 1, "one network")
    return next(iter(students.values()))


def build_learner(settings: Mapping[str, Any]) -> Learner:
    """Build the learner that the sections `model` and `train` of the parameters describe.

    A classical model with sections `members` and `student` gets the learners of these.

    Raises
    ------
    ValueError
        naming a setting that is out of its range, or a model that cannot be calibrated to speakers
    """
    learner = _build_uncalibrated(settings)
    if calibrated(settings):
        name, section = settings["model"]["name"], settings["calibration"]
        check("calibration", section["name"], learner.calibrates, f"none with model={name}")
        learner.calibration = SpeakerCalibration(statistics=section["statistics"])
    return learner


def calibrated(settings: Mapping[str, Any]) -> bool:
    """Tell whether sections of the parameters ask for vectors normalised by their speakers."""
    section = settings.get("calibration") or {"clips": 0}
    return section["clips"] != 0 and section["statistics"] != "none"


def _build_uncalibrated(settings: Mapping[str, Any]) -> Learner:
    model = settings["model"]
    build = bind(model["network"], "networks")
    if not is_network(model):
        roles = [role for role in ("members", "student") if role in model]
        return build(**{role: _build_parts(settings, role) for role in roles})
    schedule = settings["train"].get("schedule")
    want = "a section with a `_target_`, which -S train/schedule=NAME chooses"
    check("train.schedule", schedule, not isinstance(schedule, str), want)
    return bind(settings["train"], "learning")(build)


def _build_parts(settings: Mapping[str, Any], role: str) -> dict[str, Part]:
    """Build the models that the section `members` or `student` of a model describes, by name."""
    parts = {}
    for name, part in settings["model"][role].items():
        setting = f"model.{role}.{name}"
        own, train = part["model"], part.get("train", {})
        start = train.get("warm_start")
        check(f"{setting}.train.warm_start", start, start is None, "null")
        with named(setting):
            learner = build_learner({**part, "calibration": settings.get("calibration")})
        parts[name] = Part(setting, learner, list(part["features"]), is_network(own))
    return parts
