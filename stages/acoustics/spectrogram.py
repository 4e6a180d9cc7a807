"""Short-time power spectrum in decibels, linear in frequency."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from stages.acoustics import Description
from stages.settings.checks import check, check_range
from stages.signals.spectra import power_spectrum


def spectrogram(
    waveform: Tensor,
    *,
    sample_rate: int,
    hop_length: int,
    n_fft: int,
    win_length: int,
    fmax: float | None,
    bins: int | None,
    floor_db: float,
) -> Tensor:
    """Power in bins of equal width in Hz, in decibels.

    Line k of the transform lies at k * sample_rate / n_fft. The lines above 0 Hz and up to fmax are
    divided into `bins` groups of equal size; a bin is the mean power of its group. The line at 0 Hz
    holds the offset of a recording and no speech, and is left out. As in
    `stages.acoustics.logmel.logmel`, levels are not relative to the maximum of the clip.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]
    sample_rate : int
        in Hz
    hop_length, n_fft, win_length : int
        in samples; frames are centred, the signal is padded with zeros
    fmax : float
        highest frequency, in Hz; None is half the sample rate
    bins : int
        a divisor of the number of lines; None keeps every line
    floor_db : float
        smallest value, -120 to 0

    Returns
    -------
    Tensor [..., bins, frames]
        10 log10 of the mean squared magnitude, lowest frequency first;
        frames = 1 + samples // hop_length

    Raises
    ------
    ValueError
        for a setting outside its range; if the waveform is empty or holds NaN or infinity

    References
    ----------
    librosa.stft (Hann window), magnitude squared, grouped, with a floor and in decibels; equal to
    1e-9 dB in float64
    """
    bins, size = _groups(sample_rate, n_fft, fmax, bins)
    # Below -120 dB, a float16 cache would be coarser than .06 dB.
    check_range("floor_db", floor_db, low=-120, high=0)
    power = power_spectrum(waveform, n_fft=n_fft, win_length=win_length, hop_length=hop_length)
    # A sum of strided slices: a reduction over the few lines of a group is slow.
    first, *rest = (power[..., 1 + line : 1 + bins * size : size, :] for line in range(size))
    grouped = sum(rest, start=first) / size
    return 10 * grouped.clamp_min(10 ** (floor_db / 10)).log10()


def describe(
    *, sample_rate: int, n_fft: int, fmax: float | None, bins: int | None, **_: object
) -> Description:
    """Decibels by the mean frequency of each bin, in Hz. Takes the settings of `spectrogram`."""
    bins, size = _groups(sample_rate, n_fft, fmax, bins)
    lines = np.arange(1, bins * size + 1).reshape(bins, size)
    return Description("power (dB)", "frequency (Hz)", lines.mean(axis=1) * sample_rate / n_fft)


def _groups(sample_rate: int, n_fft: int, fmax: float | None, bins: int | None) -> tuple[int, int]:
    """Number of bins, and of lines in each bin, settings checked."""
    check_range("sample_rate", sample_rate, low=1)
    check_range("n_fft", n_fft, low=2)
    lines = _lines(sample_rate, n_fft, fmax)
    bins = lines if bins is None else bins
    check(
        "bins",
        bins,
        bins >= 1 and lines % bins == 0,
        f"a divisor of {lines}, the lines over 0 Hz (fmax {fmax}, n_fft {n_fft})",
    )
    return bins, lines // bins


def _lines(sample_rate: int, n_fft: int, fmax: float | None) -> int:
    """Number of lines of the transform above 0 Hz and up to fmax."""
    if fmax is None:
        return n_fft // 2
    lowest, nyquist = sample_rate / n_fft, sample_rate / 2
    check(
        "fmax",
        fmax,
        lowest <= fmax <= nyquist,
        f"{lowest} (the first line over 0 Hz) to {nyquist} (half sample_rate)",
    )
    return int(fmax * n_fft // sample_rate)
