"""Chroma: how a spectrum's power is shared out among the pitch classes."""

from __future__ import annotations

from functools import lru_cache

import librosa.filters
import numpy as np
import torch
from torch import Tensor

from stages.acoustics import Description
from stages.running.checks import check_range
from stages.running.resources import check_memory
from stages.signals.spectra import check_transforms, floored_spectrum, weighted_sums


def chroma(
    waveform: Tensor,
    *,
    sample_rate: int,
    hop_length: int,
    n_fft: int,
    win_length: int,
    n_chroma: int,
    tuning: float,
    floor_db: float,
) -> Tensor:
    """Power in the pitch classes, whatever the octave, relative to the strongest of its frame.

    The tuning is a setting and not estimated from the clip: a frame does not depend on the rest of
    its clip. Lines of the spectrum under the floor are raised to it, so that silence, where no
    class stands out, is all of nearly one value, and not a pattern made of rounding.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]
    sample_rate : int
        in Hz
    hop_length, n_fft, win_length : int
        in samples; frames are centred, zeros are taken beyond the ends
    n_chroma : int
        classes of an octave, at most n_fft // 2
    tuning : float
        how far the first class lies over a C that belongs to A = 440 Hz, -0.5 to 0.5 classes
    floor_db : float
        smallest power of a line, -120 to 0

    Returns
    -------
    Tensor [..., n_chroma, frames]
        0 to 1, from C upwards; frames = 1 + samples // hop_length

    Raises
    ------
    ValueError
        for a setting outside its range; if the waveform is empty or holds NaN or infinity

    References
    ----------
    librosa.feature.chroma_stft with that tuning, of a spectrum floored in the same way; equal to
    1e-9 in float64
    """
    check_range("sample_rate", sample_rate, low=1)
    check_range("n_fft", n_fft, low=2)
    check_range("win_length", win_length, low=2, high=n_fft)
    check_range("hop_length", hop_length, low=1)
    check_transforms("n_fft", n_fft, waveform=waveform, n_fft=n_fft, hop_length=hop_length)
    check_range("n_chroma", n_chroma, low=1, high=n_fft // 2)
    check_range("tuning", tuning, low=-0.5, high=0.5)
    filters = _filters(
        sample_rate, n_fft, n_chroma, tuning, waveform.dtype, waveform.device
    )  # [n_chroma and some of zeros, n_fft // 2 + 1]
    power = floored_spectrum(
        waveform, n_fft=n_fft, win_length=win_length, hop_length=hop_length, floor_db=floor_db
    )
    classes = weighted_sums(filters, power)[..., :n_chroma, :]
    return classes / classes.amax(dim=-2, keepdim=True)


def describe(*, n_chroma: int, **_: object) -> Description:
    """Shares by class, in semitones over C. Settings as of `chroma`."""
    semitones = np.arange(n_chroma) * 12 / n_chroma
    return Description("power (1: the strongest)", "semitones over C", semitones)


# Inference mode is left while a constant is built: it would stay barred from gradients ever after.
@lru_cache
@torch.inference_mode(False)
def _filters(
    sample_rate: int,
    n_fft: int,
    n_chroma: int,
    tuning: float,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """The weight [n_chroma, n_fft // 2 + 1] of each line, once per process, settings checked.

    Rows of zeros follow up to a multiple of 16, with which the product takes two thirds of the
    time.
    """
    check_memory(
        f"n_fft: got {n_fft}, want less, or a smaller n_chroma: the filterbank",
        need=64 * n_fft * n_chroma,  # as it is made for both halves of the transform, in float64
    )
    weights = librosa.filters.chroma(
        sr=sample_rate, n_fft=n_fft, tuning=tuning, n_chroma=n_chroma, dtype=np.float64
    )
    weights = np.pad(weights, ((0, -n_chroma % 16), (0, 0)))
    return torch.from_numpy(weights).to(device, dtype)
