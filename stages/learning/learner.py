"""The interface of everything that learns, and the one place where settings become a learner."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from stages.learning.batches import ClipData
from stages.running.checks import check
from stages.running.settings import bind


class Learner(Protocol):
    """A model that is fitted to clips and predicts others.

    The training of networks, stages.learning.training.NetworkLearner, and every classical model
    in stages.networks implement it. An implementation that inherits from it states only what
    differs from the values below.

    Attributes
    ----------
    epochs : int
        largest number of epochs that `fit` makes
    fits_validation : bool
        whether the final fit includes the validation clips
    warm_start : str or None
        checkpoint whose weights `fit` starts from
    rescued : int or None
        best epoch before `fit` raised an error, whose weights `state` then returns; None if there
        is no such epoch
    """

    epochs: int = 1
    fits_validation: bool = False
    warm_start: str | None = None
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


def is_network(model: Mapping[str, Any]) -> bool:
    """Tell whether the section `model` of the parameters describes a network.

    A network is an nn.Module, which the section `train` trains. Any other model is classical: its
    class implements `Learner`.
    """
    kind: Any = bind(model["network"]).func
    return issubclass(kind, nn.Module)


def build_learner(settings: Mapping[str, Any]) -> Learner:
    """Build the learner that the sections `model` and `train` of the parameters describe.

    Raises
    ------
    ValueError
        naming a setting that is out of its range
    """
    build = bind(settings["model"]["network"])
    if not is_network(settings["model"]):
        return build()
    schedule = settings["train"].get("schedule")
    want = "a section with a `_target_`, which -S train/schedule=NAME chooses"
    check("train.schedule", schedule, not isinstance(schedule, str), want)
    return bind(settings["train"])(build)
