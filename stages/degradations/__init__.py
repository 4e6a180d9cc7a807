"""Degradations of a clip: in each module, the function of its name does one.

It is given the samples, float64 [samples], and the scene that they are heard in, and returns as
many samples. A module also says, as `UNITS`, which settings may have several amounts, and what
these are measured in; {} where there is one way only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.running.checks import check_range


class Scene(NamedTuple):
    """What a degradation has besides the clip.

    Attributes
    ----------
    random : Generator
        seeded by the names of the degradation and of the clip: each clip has its own noise, the
        same at every amount
    sample_rate : int
        of the clip, in Hz
    voices : (number, samples) -> float64 [number, samples]
        speech of other speakers than the clip's, without pauses between their clips, each with a
        mean power of 1; drawn with `random`
    """

    random: np.random.Generator
    sample_rate: int
    voices: Callable[[int, int], NDArray[np.float64]]


def add_noise(waveform: NDArray, noise: NDArray, *, snr_db: float) -> NDArray[np.float64]:
    """Add noise at a signal-to-noise ratio.

    It is the ratio of two mean powers over the whole clip, pauses and all. A silent clip stays as
    it is, because no noise has a ratio to it.

    Parameters
    ----------
    waveform, noise : float [samples]
        noise of any level
    snr_db : float
        -100 to 100

    Returns
    -------
    float64 [samples]
        may go beyond full scale: only levels are set behind it, no sample is clipped

    Raises
    ------
    ValueError
        for a ratio outside its range
    """
    check_range("snr_db", snr_db, low=-100, high=100)
    power = np.square(noise).mean()
    wanted = np.square(waveform).mean() * 10 ** (-snr_db / 10)
    return waveform + noise * np.sqrt(wanted / power if power else 0.0)
