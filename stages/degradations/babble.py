"""Babble: several other people talking at the same time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.degradations import Scene, add_noise
from stages.settings.checks import check_range

UNITS = {"snr_db": "dB SNR", "voices": "voices"}


def babble(waveform: NDArray, scene: Scene, *, snr_db: float, voices: int) -> NDArray[np.float64]:
    """Add the sum of equally loud clips of other speakers; they are the same at every ratio.

    The other speakers come from the same corpora. The recogniser may have been trained on their
    voices, but never on the speaker of the clip. If there are fewer of them than voices, some talk
    twice.

    Parameters
    ----------
    waveform : float [samples]
    scene : Scene
    snr_db : float
        see `add_noise`
    voices : int
        1 to 1000

    Returns
    -------
    float64 [samples]

    Raises
    ------
    ValueError
        for a setting outside its range; if there is no other speaker
    """
    check_range("voices", voices, low=1, high=1000)
    return add_noise(waveform, scene.voices(voices, len(waveform)).sum(axis=0), snr_db=snr_db)
