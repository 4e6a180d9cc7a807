"""Variant `stretch`: faster or slower, the pitch as it was."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torchaudio.functional import phase_vocoder

from stages.variants import draw


def stretch(
    waveform: np.ndarray, random: np.random.Generator, *, rate: Sequence[float], n_fft: int
) -> np.ndarray:
    """Change how long a clip takes.

    Parameters
    ----------
    waveform : float32 [samples]
        at least one
    random : Generator
        draws the rate
    rate : two numbers
        smallest and largest speed, .25 to 4; over 1 is faster
    n_fft : int
        points of the windows, which overlap by three quarters; at least 4

    Returns
    -------
    float32 [samples / drawn rate, rounded]
        at least one

    Raises
    ------
    ValueError
        for a setting out of its range
    """
    drawn = draw(random, rate, name="rate", least=0.25, most=4)
    return stretched(waveform, samples=round(len(waveform) / drawn), n_fft=n_fft)


def stretched(waveform: np.ndarray, *, samples: int, n_fft: int) -> np.ndarray:
    """A waveform in so many samples, at least one, by a phase vocoder; see `stretch`.

    References
    ----------
    Flanagan and Golden, Phase Vocoder, 1966; torchaudio.functional.phase_vocoder
    """
    if n_fft < 4:
        raise ValueError(f"n_fft: got {n_fft}, want at least 4")
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
