"""Spectral contrast: the level of the peaks of each octave above its valleys."""

from __future__ import annotations

import math
from functools import lru_cache

import librosa
import numpy as np
import torch
from torch import Tensor

from stages.acoustics import Description
from stages.settings.checks import check, check_range
from stages.signals.kernels import compiled, is_plain
from stages.signals.spectra import power_spectrum


def contrast(
    waveform: Tensor,
    *,
    sample_rate: int,
    hop_length: int,
    n_fft: int,
    win_length: int,
    n_bands: int,
    fmin: float,
    quantile: float,
    floor_db: float,
) -> Tensor:
    """Level of the strongest lines of each band above that of its weakest, in decibels.

    It is high where harmonics or formants stand out and low in breath and noise. Lines below the
    floor are raised to it: deeper valleys depend on the codec of the recording.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]
    sample_rate : int
        in Hz
    hop_length, n_fft, win_length : int
        in samples; frames are centred, the signal is padded with zeros
    n_bands : int
        octaves above fmin, in addition to the band below fmin; each must begin below half the
        sample rate, where the last one ends
    fmin : float
        in Hz, at least the first line of the transform above 0
    quantile : float
        fraction of a band's lines, over 0 and below 1: the mean magnitude of the strongest ones is
        its peak, that of the weakest ones its valley; at least one line
    floor_db : float
        smallest power of a line, -120 to 0

    Returns
    -------
    Tensor [..., n_bands + 1, frames]
        10 log10 of the ratio of magnitudes, lowest band first; frames = 1 + samples // hop_length

    Raises
    ------
    ValueError
        for a setting outside its range; if the waveform is empty or holds NaN or infinity

    References
    ----------
    librosa.feature.spectral_contrast of a spectrum with the same floor; equal to 1e-9 dB in
    float64. Decibels are 10 log10 of magnitudes, as in librosa, which is half their usual number.
    """
    check_range("n_fft", n_fft, low=2)
    check_range("win_length", win_length, low=2, high=n_fft)
    check_range("hop_length", hop_length, low=1)
    bands = _bands(sample_rate, n_fft, n_bands, fmin, quantile)
    # Below -120 dB the floor would vanish in float32's rounding of louder lines.
    check_range("floor_db", floor_db, low=-120, high=0)
    power = power_spectrum(waveform, n_fft=n_fft, win_length=win_length, hop_length=hop_length)
    means = _means(tuple(count for _, _, count in bands), waveform.dtype, waveform.device)
    floor = 10 ** (floor_db / 10)
    if is_plain(waveform):
        rows = power.transpose(-1, -2)  # [..., frames, n_fft // 2 + 1]
        ratios = waveform.new_empty(*rows.shape[:-1], len(bands))
        lines = rows.reshape(-1, rows.shape[-1]).numpy()
        order = lines.view(f"i{lines.itemsize}")
        compiled(_ratios)(lines, order, np.array(bands), floor, ratios.view(-1, len(bands)).numpy())
        return 10 * ratios.transpose(-1, -2).log10()
    weakest, strongest = [], []
    for first, end, count in bands:
        weak, strong = _extremes(power[..., first:end, :], count)
        weakest.append(weak)
        strongest.append(strong)
    extremes = torch.cat(weakest + strongest, dim=-2)  # [..., 2 * sum of counts, frames]
    # The floor keeps the order of lines, so it is applied to the selected ones alone.
    magnitudes = extremes.clamp_min(floor).sqrt()
    valleys, peaks = (means @ half for half in magnitudes.chunk(2, dim=-2))
    return 10 * (peaks / valleys).log10()


def describe(
    *, sample_rate: int, n_fft: int, n_bands: int, fmin: float, quantile: float, **_: object
) -> Description:
    """Decibels by the middle of each band, in Hz. Takes the settings of `contrast`."""
    bands = _bands(sample_rate, n_fft, n_bands, fmin, quantile)
    middles = np.array([(first + end - 1) / 2 for first, end, _ in bands])
    return Description("peak above valley (dB)", "frequency (Hz)", middles * sample_rate / n_fft)


def _extremes(power: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` weakest and the `count` strongest lines of each frame, in any order."""
    if count == 1:  # many times faster than topk
        return power.amin(dim=-2, keepdim=True), power.amax(dim=-2, keepdim=True)
    weakest, strongest = (
        power.topk(count, dim=-2, largest=largest, sorted=False).values for largest in (False, True)
    )
    return weakest, strongest


def _ratios(
    power: np.ndarray, order: np.ndarray, bands: np.ndarray, floor: float, ratios: np.ndarray
) -> None:
    """Fill an array with the ratio of peak to valley of each band.

    The loops find the weakest and the strongest line of a band, count the lines that are equal to
    them, and go on to the next weakest and the next strongest. No branch depends on a value, so one
    instruction handles several lines. They compare integers, because the compiler can vectorise
    minima and maxima of integers, but not of floats, which might be NaN.

    Parameters
    ----------
    power : float [frames, lines]
    order : int [frames, lines]
        the bits of `power`, which have the same order as non-negative floats; NaN is either the
        least or the greatest
    bands : int [bands, 3]
        see `_bands`
    floor : float
        smallest power of a line
    ratios : float [frames, bands]
        the result
    """
    extremes = np.empty(2, order.dtype)
    values = extremes.view(power.dtype)
    for frame in range(len(order)):
        for band in range(len(bands)):
            first, end, count = bands[band]
            lines = order[frame, first:end]
            weakest = strongest = lines[0]
            for k in range(len(lines)):
                weakest, strongest = min(weakest, lines[k]), max(strongest, lines[k])
            low, high, valley, peak = weakest, strongest, 0.0, 0.0
            lows = highs = count  # lines still to add
            while lows > 0 or highs > 0:
                extremes[0], extremes[1] = low, high
                low_lines = high_lines = 0
                for k in range(len(lines)):
                    low_lines += lines[k] == low
                    high_lines += lines[k] == high
                valley += min(lows, low_lines) * np.sqrt(max(values[0], floor))
                peak += min(highs, high_lines) * np.sqrt(max(values[1], floor))
                lows, highs = max(0, lows - low_lines), max(0, highs - high_lines)
                next_low, next_high = strongest, weakest
                for k in range(len(lines)):
                    next_low = min(next_low, lines[k] if lines[k] > low else strongest)
                    next_high = max(next_high, lines[k] if lines[k] < high else weakest)
                low, high = next_low, next_high
            ratios[frame, band] = peak / valley


# Built outside inference mode: a constant cached from inside it would block gradients for ever.
@lru_cache
@torch.inference_mode(False)
def _means(counts: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Matrix [bands, sum of counts] that averages groups of `counts` neighbouring rows."""
    rows = np.repeat(np.eye(len(counts)) / counts, counts, axis=0)
    return torch.from_numpy(rows.T.copy()).to(device, dtype)


@lru_cache
def _bands(
    sample_rate: int, n_fft: int, n_bands: int, fmin: float, quantile: float
) -> tuple[tuple[int, int, int], ...]:
    """First line, the one after the last, and the number of lines in the peak of each band.

    A band begins one line below its lower edge, and ends one line before the last line up to its
    upper edge, as in librosa.
    """
    check_range("sample_rate", sample_rate, low=1)
    lowest, highest = sample_rate / n_fft, n_fft // 2 * sample_rate / n_fft
    check(
        "fmin",
        fmin,
        lowest <= fmin < highest,
        f"{lowest} (the first line over 0 Hz) to below {highest} (the last one; sample_rate "
        f"{sample_rate}, n_fft {n_fft})",
    )
    octaves = math.ceil(math.log2(highest / fmin))
    check(
        "n_bands",
        n_bands,
        1 <= n_bands <= octaves,
        f"1 to {octaves}, or a smaller fmin: the last band would begin over {highest} Hz, the last "
        f"line (fmin {fmin}, sample_rate {sample_rate})",
    )
    check("quantile", quantile, 0 < quantile < 1, "over 0 and below 1")
    lines_hz = librosa.fft_frequencies(sr=sample_rate, n_fft=n_fft)
    edges_hz = [0, *(fmin * 2.0**band for band in range(n_bands + 1))]
    bands = []
    for band in range(n_bands + 1):
        first = int(np.searchsorted(lines_hz, edges_hz[band])) - (band > 0)
        end = int(np.searchsorted(lines_hz, edges_hz[band + 1], side="right"))
        last = band == n_bands
        end = len(lines_hz) if last else end
        count = max(1, int(np.rint(quantile * (end - first))))
        end = end if last else end - 1
        bands.append((first, end, min(count, end - first)))
    return tuple(bands)
