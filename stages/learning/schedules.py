"""How the learning rate changes in the course of a training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A schedule of the learning rate by its name, and what belongs to it.

    Parameters
    ----------
    name : str
        onecycle: up to `lr`, then down to nearly nothing; the momentum the other way round.
        cosine: from `lr` to 0 along half a cosine.
        plateau: `lr`, times `factor` whenever the validation loss has not become less for more
        than `patience` epochs.
        constant: `lr`
    lr : float
        highest learning rate
    warmup : float
        onecycle: share of the steps that the learning rate rises
    factor : float
    patience : int

    Raises
    ------
    ValueError
        naming the setting, what it is and what it should be

    References
    ----------
    Smith, Topin: Super-Convergence, 2018. Loshchilov, Hutter: SGDR, ICLR 2017
    """

    name: str
    lr: float
    warmup: float
    factor: float
    patience: int

    def __post_init__(self) -> None:
        if self.name not in _SCHEDULES:
            raise ValueError(f"train.schedule: got {self.name!r}, want one of {list(_SCHEDULES)}")
        for setting, value, right, want in (
            ("lr", self.lr, self.lr > 0, "more than 0"),
            ("warmup", self.warmup, 0 < self.warmup < 1, "a share between 0 and 1"),
            ("plateau_factor", self.factor, 0 < self.factor < 1, "a share between 0 and 1"),
            ("plateau_patience", self.patience, self.patience >= 0, "at least 0 epochs"),
        ):
            if not right:
                raise ValueError(f"train.{setting}: got {value}, want {want}")

    @property
    def watches_validation(self) -> bool:
        """Whether the learning rate depends on validation clips."""
        return self.name == "plateau"

    def of(self, optimiser: Optimizer, *, steps: int) -> LRScheduler | ReduceLROnPlateau | None:
        """What changes the rate `lr` of an optimiser after each of so many steps, or epochs.

        Of epochs under plateau, which is told their validation losses.
        """
        return _SCHEDULES[self.name](self, optimiser, steps)


def _one_cycle(schedule: Schedule, optimiser: Optimizer, steps: int) -> LRScheduler:
    warmup = schedule.warmup
    # Of few steps none would rise, which the schedule divides by.
    steps = max(steps, math.ceil(2 / min(warmup, 1 - warmup)))
    return OneCycleLR(optimiser, max_lr=schedule.lr, total_steps=steps, pct_start=warmup)


def _cosine(_: Schedule, optimiser: Optimizer, steps: int) -> LRScheduler:
    return CosineAnnealingLR(optimiser, T_max=steps)


def _plateau(schedule: Schedule, optimiser: Optimizer, _: int) -> ReduceLROnPlateau:
    return ReduceLROnPlateau(
        optimiser, factor=schedule.factor, patience=schedule.patience, threshold=0.0
    )


_SCHEDULES: dict[
    str, Callable[[Schedule, Optimizer, int], LRScheduler | ReduceLROnPlateau | None]
] = {
    "onecycle": _one_cycle,
    "cosine": _cosine,
    "plateau": _plateau,
    "constant": lambda *_: None,
}
