"""Chroma: the power of a spectrum in each pitch class."""

from __future__ import annotations

from functools import lru_cache

import librosa
import numpy as np
import torch
from torch import Tensor

from stages.acoustics import Description
from stages.settings.checks import check_range
from stages.signals.spectra import floored_spectrum, weighted_sums


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
    """Power in each pitch class over all octaves, relative to the strongest class of the frame.

    The tuning is a setting, not an estimate from the clip, so a frame does not depend on the rest
    of its clip. Lines of the spectrum below the floor are raised to it: all classes of a silent
    frame then have nearly the same value, instead of a pattern of rounding errors.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]
    sample_rate : int
        in Hz
    hop_length, n_fft, win_length : int
        in samples; frames are centred, the signal is padded with zeros
    n_chroma : int
        classes per octave, at most n_fft // 2
    tuning : float
        distance of the first class above the C of A = 440 Hz, -0.5 to 0.5 classes
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
    librosa.feature.chroma_stft with the same tuning, of a spectrum with the same floor; equal to
    1e-9 in float64
    """
    check_range("sample_rate", sample_rate, low=1)
    check_range("n_fft", n_fft, low=2)
    check_range("win_length", win_length, low=2, high=n_fft)
    check_range("hop_length", hop_length, low=1)
    check_range("n_chroma", n_chroma, low=1, high=n_fft // 2)
    check_range("tuning", tuning, low=-0.5, high=0.5)
    filters = _filters(
        sample_rate, n_fft, n_chroma, tuning, waveform.dtype, waveform.device
    )  # [n_chroma and rows of zeros, n_fft // 2 + 1]
    power = floored_spectrum(
        waveform, n_fft=n_fft, win_length=win_length, hop_length=hop_length, floor_db=floor_db
    )
    classes = weighted_sums(filters, power)[..., :n_chroma, :]
    return classes / classes.amax(dim=-2, keepdim=True)


def describe(*, n_chroma: int, **_: object) -> Description:
    """Relative power by class, in semitones above C. Takes the settings of `chroma`."""
    semitones = np.arange(n_chroma) * 12 / n_chroma
    return Description("relative power (0 to 1)", "semitones above C", semitones)


# Built outside inference mode: a constant cached from inside it would block gradients for ever.
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
    """Weights [n_chroma, n_fft // 2 + 1] of the lines; built once per process.

    Rows of zeros pad the filterbank to a multiple of 16: the product then takes two thirds of the
    time.
    """
    weights = librosa.filters.chroma(
        sr=sample_rate, n_fft=n_fft, tuning=tuning, n_chroma=n_chroma, dtype=np.float64
    )
    weights = np.pad(weights, ((0, -n_chroma % 16), (0, 0)))
    return torch.from_numpy(weights).to(device, dtype)
