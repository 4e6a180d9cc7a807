"""Variant `room`: the same clip, spoken in a room."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.degradations import Scene
from stages.degradations.reverberation import reverberation
from stages.variants import draw


def room(
    waveform: np.ndarray,
    random: np.random.Generator,
    *,
    sample_rate: int,
    t60_s: Sequence[float],
    direct_to_reverberant_db: float,
) -> np.ndarray:
    """Add reverberation; see stages.degradations.reverberation.

    Parameters
    ----------
    waveform : float32 [samples]
        at least one
    random : Generator
        draws the time and the room
    sample_rate : int
        in Hz
    t60_s : two numbers
        shortest and longest time in which the reverberation falls by 60 dB, .01 to 20
    direct_to_reverberant_db : float
        energy of the direct sound over that of the rest, -40 to 40

    Returns
    -------
    float32 [samples]
        beginning with the direct sound; what sounds on after the clip's end is cut off

    Raises
    ------
    ValueError
        for a setting out of its range
    """
    drawn = draw(random, t60_s, name="t60_s", least=0.01, most=20)
    alone = Scene(random, sample_rate, voices=lambda *size: np.zeros(size))
    made = reverberation(
        waveform, alone, t60_s=drawn, direct_to_reverberant_db=direct_to_reverberant_db
    )
    return made.astype(np.float32)
