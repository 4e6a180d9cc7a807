"""Variant `stretch`: the clip faster or slower, at the same pitch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torchaudio.functional import phase_vocoder

from stages.settings.checks import check_range
from stages.variants import draw


def stretch(
    waveform: np.ndarray, random: np.random.Generator, *, rate: Sequence[float], n_fft: int
) -> np.ndarray:
    """Change the duration of a clip.

    Parameters
    ----------
    waveform : float32 [samples]
        at least one sample
    random : Generator
        draws the rate
    rate : two numbers
        smallest and largest speed, .25 to 4; more than 1 is faster
    n_fft : int
        points of the windows, which overlap by three quarters; at least 4

    Returns
    -------
    float32 [samples / rate, rounded]
        at least one sample

    Raises
    ------
    ValueError
        for a setting outside its range
    """
    speed = draw(random, rate, name="rate", low=0.25, high=4)
    return stretched(waveform, samples=round(len(waveform) / speed), n_fft=n_fft)


def stretched(waveform: np.ndarray, *, samples: int, n_fft: int) -> np.ndarray:
    """Stretch a waveform to a number of samples, at least one, with a phase vocoder.

    Parameters
    ----------
    waveform : float32 [samples]
    samples : int
        of the result
    n_fft : int
        see `stretch`

    Returns
    -------
    float32 [samples]

    Raises
    ------
    ValueError
        if n_fft is below 4

    References
    ----------
    Flanagan and Golden, Phase Vocoder, 1966; torchaudio.functional.phase_vocoder
    """
    check_range("n_fft", n_fft, low=4)
    samples, hop_length = max(1, samples), n_fft // 4
    window = torch.hann_window(n_fft)
    spectrum = torch.stft(
        torch.from_numpy(waveform),
        n_fft,
        hop_length,
        window=window,
        pad_mode="constant",  # a clip may be shorter than half a window
        return_complex=True,
    )
    advance = torch.linspace(0, math.pi * hop_length, n_fft // 2 + 1)[:, None]
    spectrum = phase_vocoder(spectrum, len(waveform) / samples, advance)
    return torch.istft(spectrum, n_fft, hop_length, window=window, length=samples).numpy()
