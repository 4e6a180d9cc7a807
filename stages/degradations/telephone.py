"""Telephone: a narrow band at a low sample rate."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy import signal

from stages.degradations import Scene
from stages.settings.checks import check_range

UNITS: dict[str, str] = {}


def telephone(
    waveform: NDArray, scene: Scene, *, rate_hz: int, low_hz: float, high_hz: float, order: int
) -> NDArray[np.float64]:
    """Resample to the rate of a telephone, apply its band-pass filter, and resample back.

    The line itself is not simulated: there is no companding, coding or noise.

    Parameters
    ----------
    waveform : float [samples]
    scene : Scene
    rate_hz : int
        1000 to 192000
    low_hz, high_hz : float
        3 dB cut-off frequencies of the Butterworth band-pass; low < high < half the rate
    order : int
        of each slope, 1 to 20; every order adds 6 dB per octave

    Returns
    -------
    float64 [samples]

    Raises
    ------
    ValueError
        for a setting outside its range
    """
    check_range("rate_hz", rate_hz, low=1000, high=192_000)
    check_range("high_hz", high_hz, low=2, high=0.499 * rate_hz)
    check_range("low_hz", low_hz, low=1, high=0.99 * high_hz)
    check_range("order", order, low=1, high=20)
    narrow = soxr.resample(waveform, scene.sample_rate, rate_hz)
    band = signal.butter(order, (low_hz, high_hz), "bandpass", fs=rate_hz, output="sos")
    wide = soxr.resample(signal.sosfilt(band, narrow), rate_hz, scene.sample_rate)
    result = np.zeros(len(waveform))  # two resamplings may add or lose a sample
    result[: len(wide)] = wide[: len(waveform)]
    return result
