"""White noise: hiss of equal power at every frequency."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.degradations import Scene, add_noise

UNITS = {"snr_db": "dB SNR"}


def white(waveform: NDArray, scene: Scene, *, snr_db: float) -> NDArray[np.float64]:
    """Add Gaussian white noise; it is the same at every ratio.

    Parameters
    ----------
    waveform : float [samples]
    scene : Scene
    snr_db : float
        see `add_noise`

    Returns
    -------
    float64 [samples]

    Raises
    ------
    ValueError
        for a ratio outside its range
    """
    return add_noise(waveform, scene.random.standard_normal(len(waveform)), snr_db=snr_db)
