"""Speed: the clip as on a tape that runs faster or slower, which sounds like another voice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import soxr

from stages.variants import draw


def speed(
    waveform: np.ndarray, random: np.random.Generator, *, factor: Sequence[float]
) -> np.ndarray:
    """Scale tempo, pitch and formants by one factor.

    Parameters
    ----------
    waveform : float32 [samples]
        at least one sample
    random : Generator
        draws the factor
    factor : two numbers
        smallest and largest speed, .25 to 4; more than 1 is faster and higher

    Returns
    -------
    float32 [samples / factor, rounded]
        at least one sample

    Raises
    ------
    ValueError
        for a setting outside its range

    References
    ----------
    Ko et al., "Audio augmentation for speech recognition", Interspeech 2015
    """
    drawn = draw(random, factor, name="factor", low=0.25, high=4)
    samples = max(1, round(len(waveform) / drawn))
    changed = soxr.resample(waveform, drawn, 1)[:samples]
    return np.pad(changed, (0, samples - len(changed)))
