"""Short-time power spectrum in decibels, linear in frequency."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from stages.acoustics import Description
from stages.running.checks import check_range
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

    Line k of the transform lies at k * sample_rate / n_fft. The lines over 0 Hz up to fmax are cut
    into `bins` groups of neighbours, as many in each, and a bin is the mean of its group's power.
    The line at 0 Hz is left out: it holds a recording's offset and no speech. As in
    `stages.acoustics.logmel.logmel`, nothing is measured against the clip's own maximum.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]
    sample_rate : int
        in Hz
    hop_length, n_fft, win_length : int
        in samples; frames are centred, zeros are taken beyond the ends
    fmax : float
        highest line that is kept, in Hz; None is half the sample rate
    bins : int
        a divisor of the number of lines kept; None keeps each line for itself
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
    librosa.stft (Hann window), its magnitude squared, grouped, floored and in decibels, equal to
    1e-9 dB in float64
    """
    bins, each = _groups(sample_rate, n_fft, fmax, bins)
    # Under -120 dB a float16 cache would be coarser than .06 dB.
    check_range("floor_db", floor_db, low=-120, high=0)
    power = power_spectrum(waveform, n_fft=n_fft, win_length=win_length, hop_length=hop_length)
    # Every so many lines at a time: a reduction over few is slow.
    first, *rest = (power[..., 1 + line : 1 + bins * each : each, :] for line in range(each))
    grouped = sum(rest, start=first) / each
    return 10 * grouped.clamp_min(10 ** (floor_db / 10)).log10()


def describe(
    *, sample_rate: int, n_fft: int, fmax: float | None, bins: int | None, **_: object
) -> Description:
    """Decibels by bin: the mean frequency of its lines, in Hz. Settings as of `spectrogram`."""
    bins, each = _groups(sample_rate, n_fft, fmax, bins)
    lines = np.arange(1, bins * each + 1).reshape(bins, each)
    return Description("power (dB)", "frequency (Hz)", lines.mean(axis=1) * sample_rate / n_fft)


def _groups(sample_rate: int, n_fft: int, fmax: float | None, bins: int | None) -> tuple[int, int]:
    """How many bins there are and how many lines each holds, settings checked."""
    check_range("sample_rate", sample_rate, low=1)
    check_range("n_fft", n_fft, low=2)
    lines = _lines(sample_rate, n_fft, fmax)
    bins = lines if bins is None else bins
    if bins < 1 or lines % bins:
        raise ValueError(
            f"bins: got {bins}, want a divisor of {lines}, the lines over 0 Hz "
            f"(fmax {fmax}, n_fft {n_fft})"
        )
    return bins, lines // bins


def _lines(sample_rate: int, n_fft: int, fmax: float | None) -> int:
    """How many lines of the transform lie over 0 Hz and at most at fmax."""
    if fmax is None:
        return n_fft // 2
    lowest, nyquist = sample_rate / n_fft, sample_rate / 2
    if not lowest <= fmax <= nyquist:
        raise ValueError(
            f"fmax: got {fmax}, want {lowest} (the first line over 0 Hz) to {nyquist} "
            "(half sample_rate)"
        )
    return int(fmax * n_fft // sample_rate)
