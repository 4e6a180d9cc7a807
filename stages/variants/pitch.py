"""Variant `pitch`: the clip at a higher or lower pitch and the same length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import soxr

from stages.variants import draw
from stages.variants.stretch import stretched


def pitch(
    waveform: np.ndarray,
    random: np.random.Generator,
    *,
    sample_rate: int,
    semitones: Sequence[float],
    n_fft: int,
) -> np.ndarray:
    """Scale all frequencies by one factor, formants and pitch alike.

    The clip is stretched and then resampled to its original length.

    Parameters
    ----------
    waveform : float32 [samples]
        at least one sample
    random : Generator
        draws the shift
    sample_rate : int
        in Hz
    semitones : two numbers
        smallest and largest shift, -12 to 12; positive is higher
    n_fft : int
        see `stages.variants.stretch.stretch`

    Returns
    -------
    float32 [samples]

    Raises
    ------
    ValueError
        for a setting outside its range
    """
    factor = 2.0 ** (draw(random, semitones, name="semitones", low=-12, high=12) / 12)
    longer = stretched(waveform, samples=round(len(waveform) * factor), n_fft=n_fft)
    shifted = soxr.resample(longer, factor * sample_rate, sample_rate)[: len(waveform)]
    return np.pad(shifted, (0, len(waveform) - len(shifted)))
