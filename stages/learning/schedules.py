"""Schedules of the learning rate: one class per option of conf/train/schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LambdaLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
)

from stages.settings.checks import check


class Schedule(Protocol):
    """How the learning rate changes in the course of a training.

    Attributes
    ----------
    watches_validation : bool
        whether the scheduler is stepped once per epoch with the validation loss, not once per
        training step
    """

    watches_validation: ClassVar[bool] = False

    def scheduler(self, optimiser: Optimizer, *, steps: int) -> LRScheduler:
        """Attach the schedule to an optimiser.

        Parameters
        ----------
        optimiser : Optimizer
            its learning rate is the highest of the schedule
        steps : int
            of the whole training
        """
        ...


@dataclass(frozen=True, kw_only=True)
class OneCycle(Schedule):
    """Raise the learning rate to its maximum, then lower it to nearly 0; momentum inversely.

    Parameters
    ----------
    warmup : float
        share of the steps in which the learning rate rises, between 0 and 1

    References
    ----------
    Smith, Topin: Super-Convergence, 2018
    """

    warmup: float

    def __post_init__(self) -> None:
        check("train.schedule.warmup", self.warmup, 0 < self.warmup < 1, "a share between 0 and 1")

    def scheduler(self, optimiser: Optimizer, *, steps: int) -> LRScheduler:
        """See `Schedule.scheduler`."""
        # OneCycleLR divides by the number of rising and of falling steps.
        steps = max(steps, math.ceil(2 / min(self.warmup, 1 - self.warmup)))
        highest = [group["lr"] for group in optimiser.param_groups]
        return OneCycleLR(optimiser, max_lr=highest, total_steps=steps, pct_start=self.warmup)


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Lower the learning rate to 0 along half a cosine.

    References
    ----------
    Loshchilov, Hutter: SGDR, ICLR 2017
    """

    def scheduler(self, optimiser: Optimizer, *, steps: int) -> LRScheduler:
        """See `Schedule.scheduler`."""
        return CosineAnnealingLR(optimiser, T_max=steps)


@dataclass(frozen=True, kw_only=True)
class Plateau(Schedule):
    """Lower the learning rate whenever the validation loss has stopped falling.

    Parameters
    ----------
    factor : float
        of the learning rate, between 0 and 1
    patience : int
        epochs without a lower validation loss that are tolerated
    """

    watches_validation = True

    factor: float
    patience: int

    def __post_init__(self) -> None:
        check("train.schedule.factor", self.factor, 0 < self.factor < 1, "a share between 0 and 1")
        check("train.schedule.patience", self.patience, self.patience >= 0, "at least 0 epochs")

    def scheduler(self, optimiser: Optimizer, *, steps: int) -> LRScheduler:
        """See `Schedule.scheduler`."""
        return ReduceLROnPlateau(
            optimiser, factor=self.factor, patience=self.patience, threshold=0.0
        )


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """Keep the learning rate as it is."""

    def scheduler(self, optimiser: Optimizer, *, steps: int) -> LRScheduler:
        """See `Schedule.scheduler`."""
        return LambdaLR(optimiser, lambda _: 1.0)
