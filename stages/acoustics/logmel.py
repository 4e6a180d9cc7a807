"""Mel spectrogram in decibels."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from stages.acoustics import Description
from stages.settings.checks import check, check_range
from stages.signals.spectra import mel_edges, mel_filters, power_spectrum, weighted_sums


def logmel(
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
) -> Tensor:
    """Power in bands of equal width on the mel scale, in decibels.

    Levels are not relative to the maximum of the clip, so a frame does not depend on the rest of
    its clip. Values below a fixed floor are raised to it: noise below the floor (16-bit rounding at
    -90 dB, a codec's silence below that) tells recordings apart, not emotions.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]
    sample_rate : int
        in Hz
    hop_length, n_fft, win_length : int
        in samples; frames are centred, the signal is padded with zeros
    n_mels : int
        number of bands; each must hold a line of the transform
    fmin, fmax : float
        lower edge of the lowest and upper edge of the highest band, in Hz; fmax None is half the
        sample rate
    floor_db : float
        smallest value, -120 to 0

    Returns
    -------
    Tensor [..., n_mels, frames]
        10 log10 of the power, frames = 1 + samples // hop_length

    Raises
    ------
    ValueError
        for a setting outside its range; if a band holds no line of the transform; if the waveform
        is empty or holds NaN or infinity

    References
    ----------
    librosa.feature.melspectrogram (power 2, Slaney's mel scale and norm), with a floor and in
    decibels; equal to 1e-5 dB in float64
    """
    check_range("sample_rate", sample_rate, low=1)
    check_range("n_fft", n_fft, low=2)
    check_range("win_length", win_length, low=2, high=n_fft)
    check_range("hop_length", hop_length, low=1)
    # Below -120 dB, a float16 cache would be coarser than .06 dB.
    check_range("floor_db", floor_db, low=-120, high=0)
    filters, lines = _mel_filters(
        sample_rate, n_fft, n_mels, fmin, fmax, waveform.dtype, waveform.device
    )  # [n_mels, n_fft // 2 + 1]; [n_mels, 2]
    power = power_spectrum(waveform, n_fft=n_fft, win_length=win_length, hop_length=hop_length)
    return 10 * weighted_sums(filters, power, lines=lines).clamp_min(10 ** (floor_db / 10)).log10()


def describe(
    *, sample_rate: int, n_mels: int, fmin: float, fmax: float | None, **_: object
) -> Description:
    """Decibels by the peak frequency of each filter, in Hz. Takes the settings of `logmel`."""
    fmax = sample_rate / 2 if fmax is None else fmax
    edges_hz = np.array(mel_edges(n_mels, fmin=fmin, fmax=fmax))
    return Description("power (dB)", "frequency (Hz)", edges_hz[1:-1])


# Built outside inference mode: a constant cached from inside it would block gradients for ever.
@lru_cache
@torch.inference_mode(False)
def _mel_filters(
    sample_rate: int,
    n_fft: int,
    n_mels: int,
    fmin: float,
    fmax: float | None,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, np.ndarray]:
    """Mel filterbank, settings checked; built once per process.

    Returns
    -------
    filters : Tensor [n_mels, n_fft // 2 + 1]
        triangles of equal area
    lines : int64 [n_mels, 2]
        first line of each filter, and the one after its last
    """
    nyquist = sample_rate / 2
    fmax = nyquist if fmax is None else fmax
    check("fmax", fmax, 0 < fmax <= nyquist, f"over 0 and at most {nyquist} (half sample_rate)")
    check("fmin", fmin, 0 <= fmin < fmax, f"0 to below {fmax} (fmax)")
    check_range("n_mels", n_mels, low=1, high=n_fft - 1)  # a line lies in two bands at most
    edges = [hz * n_fft / sample_rate for hz in mel_edges(n_mels, fmin=fmin, fmax=fmax)]
    # From the first line above the lower edge to the first one at the upper edge or above.
    lines = [(math.floor(edges[i]) + 1, math.ceil(edges[i + 2])) for i in range(n_mels)]
    check(
        "n_mels",
        n_mels,
        all(first < end for first, end in lines),
        f"fewer bands or a larger n_fft (fmin {fmin}, fmax {fmax}, n_fft {n_fft}): a band would "
        "hold no line of the transform",
    )
    filters = mel_filters(n_mels, fmin=fmin, fmax=fmax, n_fft=n_fft, sample_rate=sample_rate)
    return torch.from_numpy(filters).to(device, dtype), np.array(lines)
