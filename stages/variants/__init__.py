"""Training variants: one module per way of changing a clip's waveform."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def draw(
    random: np.random.Generator,
    between: Sequence[float],
    *,
    name: str,
    least: float,
    most: float,
) -> float:
    """How much to change one clip: evenly drawn between two values, which may be equal.

    Parameters
    ----------
    random : Generator
        of this clip and variant
    between : two numbers
        the smallest and the largest
    name, least, most
        of the setting; what it may be, both included

    Raises
    ------
    ValueError
        if these are not two finite numbers in order and in their range
    """
    given = between if isinstance(between, Sequence) else [between]
    numbers = [v for v in given if isinstance(v, int | float) and math.isfinite(v)]
    if len(numbers) != 2 or len(given) != 2 or not least <= numbers[0] <= numbers[1] <= most:
        raise ValueError(
            f"{name}: got {between}, want two numbers from {least:g} to {most:g}, "
            "the smaller one first"
        )
    return float(random.uniform(*numbers))
