"""Mel spectrogram in decibels."""

from __future__ import annotations

from functools import lru_cache

import librosa.filters
import numpy as np
import torch
from torch import Tensor

from stages.acoustics import Description
from stages.running.checks import check_range
from stages.running.resources import check_memory
from stages.signals.spectra import check_transforms, power_spectrum, weighted_sums


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

    Nothing is measured against the clip's own maximum, so a frame does not depend on the rest of
    its clip. What lies under the fixed floor is raised to it: noise down there (-90 dB is 16-bit
    rounding, less is a codec's silence) tells recordings apart, not emotions.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]
    sample_rate : int
        in Hz
    hop_length, n_fft, win_length : int
        in samples; frames are centred, zeros are taken beyond the ends
    n_mels : int
        bands
    fmin, fmax : float
        edges of the lowest and the highest band, in Hz; fmax None is half the sample rate
    floor_db : float
        smallest value, -120 to 0

    Returns
    -------
    Tensor [..., n_mels, frames]
        10 log10 of the power, frames = 1 + samples // hop_length

    Raises
    ------
    ValueError
        for a setting outside its range, n_mels above all: each band must hold a line of the
        transform; if the waveform is empty or holds NaN or infinity

    References
    ----------
    librosa.feature.melspectrogram (power 2, Slaney's mel scale and norm), floored and in decibels,
    equal to 1e-5 dB in float64
    """
    check_range("sample_rate", sample_rate, low=1)
    check_range("n_fft", n_fft, low=2)
    check_range("win_length", win_length, low=2, high=n_fft)
    check_range("hop_length", hop_length, low=1)
    check_transforms("n_fft", n_fft, waveform=waveform, n_fft=n_fft, hop_length=hop_length)
    filters, lines = _mel_filters(
        sample_rate, n_fft, n_mels, fmin, fmax, waveform.dtype, waveform.device
    )  # [n_mels, n_fft // 2 + 1]; [n_mels, 2]
    # Under -120 dB a float16 cache would be coarser than .06 dB.
    check_range("floor_db", floor_db, low=-120, high=0)
    power = power_spectrum(waveform, n_fft=n_fft, win_length=win_length, hop_length=hop_length)
    return 10 * weighted_sums(filters, power, lines=lines).clamp_min(10 ** (floor_db / 10)).log10()


def describe(
    *, sample_rate: int, n_mels: int, fmin: float, fmax: float | None, **_: object
) -> Description:
    """Decibels by band: the frequency at its filter's peak, in Hz. Settings as of `logmel`."""
    fmax = sample_rate / 2 if fmax is None else fmax
    edges = librosa.mel_frequencies(n_mels + 2, fmin=fmin, fmax=fmax)  # each band's, and its peak
    return Description("power (dB)", "frequency (Hz)", edges[1:-1])


# Inference mode is left while a constant is built: it would stay barred from gradients ever after.
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
    """The filterbank [n_mels, n_fft // 2 + 1] and of each band the first line and the one after the
    last [n_mels, 2], once per process, settings checked."""
    nyquist = sample_rate / 2
    fmax = nyquist if fmax is None else fmax
    check_range("n_mels", n_mels, low=1)
    if not 0 < fmax <= nyquist:
        raise ValueError(f"fmax: got {fmax}, want over 0 and at most {nyquist} (half sample_rate)")
    if not 0 <= fmin < fmax:
        raise ValueError(f"fmin: got {fmin}, want 0 to below {fmax} (fmax)")
    # The filters and what they are made from. More of them than points are refused hereafter.
    check_memory(
        f"n_fft: got {n_fft}, want less, or a smaller n_mels: the filterbank",
        need=9 * n_fft * min(n_mels, n_fft),
    )
    if not _filled(sample_rate, n_fft, n_mels, fmin, fmax):
        most, beyond = 0, min(n_mels, n_fft)  # so many are filled, and so many not
        while beyond - most > 1:
            middle = (most + beyond) // 2
            if _filled(sample_rate, n_fft, middle, fmin, fmax):
                most = middle
            else:
                beyond = middle
        raise ValueError(
            f"n_mels: got {n_mels}, want at most {most} (fmin {fmin}, fmax {fmax}, n_fft {n_fft}): "
            "a narrower band would hold no line of the transform"
        )
    bands = librosa.filters.mel(
        sr=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax, dtype=np.float64
    )  # triangles of equal area
    inside = bands > 0
    first, beyond = inside.argmax(axis=1), inside[:, ::-1].argmax(axis=1)
    lines = np.stack([first, bands.shape[1] - beyond], axis=1)
    return torch.from_numpy(bands).to(device, dtype), lines


def _filled(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> bool:
    """Whether each band holds a line of the transform."""
    if n_mels >= n_fft:  # a line lies in two bands at most
        return False
    edges = librosa.mel_frequencies(n_mels + 2, fmin=fmin, fmax=fmax)
    lines = librosa.fft_frequencies(sr=sample_rate, n_fft=n_fft)
    first = np.searchsorted(lines, edges[:-2], side="right")  # the first line above
    after = np.searchsorted(lines, edges[2:], side="left")  # the first one not below
    return bool((first < after).all())
