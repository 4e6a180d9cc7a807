"""Variant `noise`: the clip in white noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.degradations import add_noise
from stages.variants import draw


def noise(
    waveform: np.ndarray, random: np.random.Generator, *, snr_db: Sequence[float]
) -> np.ndarray:
    """Add Gaussian white noise; see `stages.degradations.add_noise`.

    Parameters
    ----------
    waveform : float32 [samples]
        at least one sample; digital silence remains silent
    random : Generator
        draws the ratio and the noise
    snr_db : two numbers
        smallest and largest signal-to-noise ratio, -100 to 100

    Returns
    -------
    float32 [samples]

    Raises
    ------
    ValueError
        for a setting outside its range
    """
    ratio = draw(random, snr_db, name="snr_db", low=-100, high=100)
    hiss = random.standard_normal(len(waveform))
    return add_noise(waveform, hiss, snr_db=ratio).astype(np.float32)
