"""Mel-frequency cepstral coefficients, with their slopes over time if wanted."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.fft
import scipy.signal
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.acoustics import Description
from stages.acoustics.logmel import logmel
from stages.running.checks import check_range
from stages.signals.spectra import weighted_sums

_DELTA_FRAMES = 9  # frames that a slope is fitted to: librosa's default


def mfcc(
    waveform: Tensor,
    *,
    sample_rate: int,
    hop_length: int,
    n_fft: int,
    win_length: int,
    n_mels: int,
    fmin: float,
    fmax: float | None,
    floor_db: float,
    n_mfcc: int,
    deltas: int,
) -> Tensor:
    """Cosine transform of the mel spectrogram in decibels: the spectrum's envelope, decorrelated.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]
    sample_rate, hop_length, n_fft, win_length, n_mels, fmin, fmax, floor_db
        of the mel spectrogram: see `stages.acoustics.logmel.logmel`
    n_mfcc : int
        coefficients kept, the 0th (loudness) among them; at most n_mels
    deltas : int
        0: coefficients alone; 1: and their slope over 9 frames; 2: and their curvature as well.
        Beyond the ends the first and last frame are repeated.

    Returns
    -------
    Tensor [..., n_mfcc * (1 + deltas), frames]
        frames = 1 + samples // hop_length

    Raises
    ------
    ValueError
        for a setting outside its range; if the waveform is empty or holds NaN or infinity

    References
    ----------
    librosa.feature.mfcc (type-2 orthonormal cosine transform) of `logmel`, and
    librosa.feature.delta with mode "nearest" of that; equal to 1e-4 in float64
    """
    check_range("n_mels", n_mels, low=1)
    check_range("n_mfcc", n_mfcc, low=1, high=n_mels)
    check_range("deltas", deltas, low=0, high=2)
    mel_db = logmel(
        waveform,
        sample_rate=sample_rate,
        hop_length=hop_length,
        n_fft=n_fft,
        win_length=win_length,
        n_mels=n_mels,
        fmin=fmin,
        fmax=fmax,
        floor_db=floor_db,
    )
    basis = _cosines(n_mfcc, n_mels, waveform.dtype, waveform.device)  # [n_mfcc, n_mels]
    coefficients = weighted_sums(basis, mel_db)  # [..., n_mfcc, frames]
    slopes = [_delta(coefficients, order=order) for order in range(1, deltas + 1)]
    return torch.cat([coefficients, *slopes], dim=-2)


def describe(*, n_mfcc: int, deltas: int, **_: object) -> Description:
    """Decibels, as the transform keeps its input's unit, by number. Settings as of `mfcc`."""
    kinds = ("coefficient", f"{n_mfcc} on: slope", f"{2 * n_mfcc} on: curvature")
    numbers = np.arange(n_mfcc * (1 + deltas))
    return Description("coefficient (dB)", ", ".join(kinds[: 1 + deltas]), numbers)


def _delta(coefficients: Tensor, *, order: int) -> Tensor:
    """Derivative over frames, of a polynomial of that order fitted to each 9 frames."""
    frames = coefficients.shape[-1]
    margin = _DELTA_FRAMES // 2
    flat = coefficients.reshape(-1, frames)  # replication takes no other shape
    padded = F.pad(flat, (margin, margin), mode="replicate")
    # A sum of shifted copies and not a convolution: GPUs convolve in TensorFloat-32 by default,
    # whose 10 bits are too few for a small difference of large coefficients.
    shifted = (weight * padded[:, i : i + frames] for i, weight in enumerate(_fit(order)))
    return sum(shifted).reshape(coefficients.shape)


@lru_cache
def _fit(order: int) -> list[float]:
    """What to weight the 9 frames with to get that derivative in their middle."""
    return scipy.signal.savgol_coeffs(_DELTA_FRAMES, order, deriv=order, use="dot").tolist()


# Inference mode is left while a constant is built: it would stay barred from gradients ever after.
@lru_cache
@torch.inference_mode(False)
def _cosines(n_mfcc: int, n_mels: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The first rows [n_mfcc, n_mels] of the cosine transform, once per process."""
    transform = scipy.fft.dct(np.eye(n_mels), type=2, norm="ortho", axis=0)
    return torch.from_numpy(transform[:n_mfcc].copy()).to(device, dtype)
