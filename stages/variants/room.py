"""Variant `room`: the clip with reverberation."""

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
    """Add reverberation; see `stages.degradations.reverberation`.

    Parameters
    ----------
    waveform : float32 [samples]
        at least one sample
    random : Generator
        draws the reverberation time and the room
    sample_rate : int
        in Hz
    t60_s : two numbers
        shortest and longest time in which the reverberation falls by 60 dB, .01 to 20
    direct_to_reverberant_db : float
        energy of the direct sound relative to that of the rest, -40 to 40

    Returns
    -------
    float32 [samples]
        begins with the direct sound; reverberation after the end of the clip is cut off

    Raises
    ------
    ValueError
        for a setting outside its range
    """
    time_s = draw(random, t60_s, name="t60_s", low=0.01, high=20)
    scene = Scene(random, sample_rate, voices=lambda *size: np.zeros(size))
    reverberant = reverberation(
        waveform, scene, t60_s=time_s, direct_to_reverberant_db=direct_to_reverberant_db
    )
    return reverberant.astype(np.float32)
