"""Mel-frequency cepstral coefficients, optionally with their derivatives over time."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.acoustics import Description
from stages.acoustics.logmel import logmel
from stages.settings.checks import check_range
from stages.signals.spectra import weighted_sums

_DELTA_FRAMES = 9  # frames of the polynomial fit behind a derivative: librosa's default


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
    """Cosine transform of the mel spectrogram in decibels: a decorrelated spectral envelope.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]
    sample_rate, hop_length, n_fft, win_length, n_mels, fmin, fmax, floor_db
        of the mel spectrogram: see `stages.acoustics.logmel.logmel`
    n_mfcc : int
        number of coefficients, the 0th (loudness) included; at most n_mels
    deltas : int
        0: the coefficients alone; 1: also their first derivative over 9 frames; 2: also their
        second derivative. The first and last frame are repeated beyond the ends.

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
    librosa.feature.delta of the coefficients with mode "nearest"; equal to 1e-4 in float64
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
    derivatives = [_delta(coefficients, order=order) for order in range(1, deltas + 1)]
    return torch.cat([coefficients, *derivatives], dim=-2)


def describe(*, n_mfcc: int, deltas: int, **_: object) -> Description:
    """Coefficients by number, in decibels like the bands. Takes the settings of `mfcc`."""
    kinds = ("coefficient", f"{n_mfcc} on: slope", f"{2 * n_mfcc} on: curvature")
    numbers = np.arange(n_mfcc * (1 + deltas))
    return Description("coefficient (dB)", ", ".join(kinds[: 1 + deltas]), numbers)


def _delta(coefficients: Tensor, *, order: int) -> Tensor:
    """Derivative of that order over frames, from polynomials fitted to 9 frames each."""
    frames = coefficients.shape[-1]
    margin = _DELTA_FRAMES // 2
    flat = coefficients.reshape(-1, frames)  # the only shape that torch can pad by replication
    padded = F.pad(flat, (margin, margin), mode="replicate")
    # A sum of shifted copies instead of a convolution: GPUs convolve in TensorFloat-32 by default,
    # whose 10 bits are too few for small differences of large coefficients.
    first, *rest = (weight * padded[:, i : i + frames] for i, weight in enumerate(_fit(order)))
    return sum(rest, start=first).reshape(coefficients.shape)


@lru_cache
def _fit(order: int) -> list[float]:
    """Weights of 9 frames for the derivative of that order in their middle."""
    return scipy.signal.savgol_coeffs(_DELTA_FRAMES, order, deriv=order, use="dot").tolist()


# Built outside inference mode: a constant cached from inside it would block gradients for ever.
@lru_cache
@torch.inference_mode(False)
def _cosines(n_mfcc: int, n_mels: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """First rows [n_mfcc, n_mels] of the cosine transform; built once per process."""
    transform = scipy.fft.dct(np.eye(n_mels), type=2, norm="ortho", axis=0)
    return torch.from_numpy(transform[:n_mfcc].copy()).to(device, dtype)
