"""Training variants: each module changes the waveform of a clip, in the function of its own name.

A module may import stages.degradations, stages.settings and another variant.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.settings.checks import check


def draw(
    random: np.random.Generator,
    interval: Sequence[float],
    *,
    name: str,
    low: float,
    high: float,
) -> float:
    """Draw the amount of a change from a uniform distribution.

    Parameters
    ----------
    random : Generator
        of the clip and variant
    interval : two numbers
        smallest and largest amount, which may be equal
    name : str
        of the setting
    low, high : float
        smallest and largest number that the setting may hold

    Raises
    ------
    ValueError
        unless the interval is two numbers in order and in range
    """
    fine = (
        isinstance(interval, Sequence)
        and len(interval) == 2
        and all(isinstance(number, int | float) for number in interval)
        and low <= interval[0] <= interval[1] <= high
    )
    check(name, interval, fine, f"two numbers from {low:g} to {high:g}, the smaller one first")
    return float(random.uniform(interval[0], interval[1]))
