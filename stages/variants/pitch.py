"""Variant `pitch`: higher or lower, as long as it was."""

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
    """Shift all frequencies by one factor, those of the vocal tract with those of the voice.

    The clip is stretched and then played faster, or the other way round.

    Parameters
    ----------
    waveform : float32 [samples]
        at least one
    random : Generator
        draws the shift
    sample_rate : int
        in Hz
    semitones : two numbers
        smallest and largest shift, -12 to 12; over 0 is higher
    n_fft : int
        see stages.variants.stretch.stretch

    Returns
    -------
    float32 [samples]

    Raises
    ------
    ValueError
        for a setting out of its range
    """
    factor = 2.0 ** (draw(random, semitones, name="semitones", least=-12, most=12) / 12)
    slow = stretched(waveform, samples=round(len(waveform) * factor), n_fft=n_fft)
    shifted = soxr.resample(slow, factor * sample_rate, sample_rate)[: len(waveform)]
    return np.pad(shifted, (0, len(waveform) - len(shifted)))
