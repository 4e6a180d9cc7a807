"""Reverberation: a room between the speaker and the microphone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from stages.degradations import Scene
from stages.settings.checks import check_range

UNITS = {"t60_s": "s T60", "direct_to_reverberant_db": "dB direct to reverberant"}


def reverberation(
    waveform: NDArray, scene: Scene, *, t60_s: float, direct_to_reverberant_db: float
) -> NDArray[np.float64]:
    """Convolve with a room impulse response: the direct sound, then decaying noise.

    The response is 1 at time 0, followed by Gaussian noise times 10^(-3 t / T60) up to T60, where
    it has fallen by 60 dB. Each clip has its own room, with the same noise at every T60.

    Parameters
    ----------
    waveform : float [samples]
    scene : Scene
    t60_s : float
        time in which the reverberation falls by 60 dB, .01 to 20
    direct_to_reverberant_db : float
        energy of the direct sound relative to that of the rest, -40 to 40

    Returns
    -------
    float64 [samples]
        begins with the direct sound; reverberation after the end of the clip is cut off

    Raises
    ------
    ValueError
        for a setting outside its range

    References
    ----------
    Polack, La transmission de l'énergie sonore dans les salles, 1988: the statistical model
    """
    check_range("t60_s", t60_s, low=0.01, high=20)
    ratio = direct_to_reverberant_db
    check_range("direct_to_reverberant_db", ratio, low=-40, high=40)
    time_s = np.arange(1, 1 + round(t60_s * scene.sample_rate)) / scene.sample_rate
    tail = scene.random.standard_normal(len(time_s)) * 10 ** (-3 * time_s / t60_s)
    tail *= np.sqrt(10 ** (-ratio / 10) / np.square(tail).sum())
    response = np.concatenate([[1.0], tail])
    return signal.oaconvolve(waveform, response)[: len(waveform)]
