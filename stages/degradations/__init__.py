"""Degradations of a clip: each module holds one, in the function of its own name.

A module may import stages.settings.

The function takes the samples, float64 [samples], and a `Scene`, and returns as many samples. The
module's `UNITS` maps each setting that may have several amounts to its unit; it is {} for a
degradation of one kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.settings.checks import check_range


class Scene(NamedTuple):
    """Inputs of a degradation besides the clip.

    Attributes
    ----------
    random : Generator
        seeded by the names of the degradation and the clip, so each clip has its own noise, which
        is the same at every amount
    sample_rate : int
        of the clip, in Hz
    voices : (number, samples) -> float64 [number, samples]
        draws speech of other speakers with `random`: their clips without pauses in between, each
        voice with a mean power of 1
    """

    random: np.random.Generator
    sample_rate: int
    voices: Callable[[int, int], NDArray[np.float64]]


def add_noise(waveform: NDArray, noise: NDArray, *, snr_db: float) -> NDArray[np.float64]:
    """Add noise at a signal-to-noise ratio.

    The ratio is that of the mean powers over the whole clip, pauses included. A silent clip remains
    silent, because its ratio to any noise is undefined.

    Parameters
    ----------
    waveform, noise : float [samples]
        noise of any level
    snr_db : float
        -100 to 100

    Returns
    -------
    float64 [samples]
        may exceed full scale: no sample is clipped, only the level is set afterwards

    Raises
    ------
    ValueError
        for a ratio outside its range
    """
    check_range("snr_db", snr_db, low=-100, high=100)
    power = np.square(noise).mean()
    target = np.square(waveform).mean() * 10 ** (-snr_db / 10)
    return waveform + noise * np.sqrt(target / power if power else 0.0)
