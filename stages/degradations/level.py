"""Level: a recording too soft for its 16 bits, or so loud that it clips."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.degradations import Scene
from stages.settings.checks import check_range

UNITS = {"peak_db": "dB peak"}
_STEPS = 1 << 15  # of 16 bits, to either side


def level(waveform: NDArray, scene: Scene, *, peak_db: float) -> NDArray[np.float64]:
    """Record a clip at another level in 16 bits.

    Parameters
    ----------
    waveform : float [samples]
        silence stays as it is
    scene : Scene
        not used
    peak_db : float
        level of the clip's largest sample before clipping, in dB relative to full scale, -100 to
        100

    Returns
    -------
    float64 [samples]
        in [-1, 1], multiples of 2^-15

    Raises
    ------
    ValueError
        for a level outside its range
    """
    check_range("peak_db", peak_db, low=-100, high=100)
    gain = 10 ** (peak_db / 20) / max(np.abs(waveform).max(), 1e-9)
    steps = np.rint(waveform * (gain * _STEPS))
    return np.clip(steps, -_STEPS, _STEPS - 1) / _STEPS
