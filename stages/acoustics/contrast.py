"""Spectral contrast: how far the peaks of each octave stand out of its valleys."""

from __future__ import annotations

import math
from functools import lru_cache

import librosa
import numpy as np
import torch
from torch import Tensor

from stages.acoustics import Description
from stages.running.checks import check_range
from stages.signals.kernels import compiled, is_plain
from stages.signals.spectra import check_transforms, power_spectrum


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
    """Level of the strongest lines of each band over that of its weakest, in decibels.

    High where a voice's harmonics or formants stand out, low in breath and noise. Lines under the
    floor are raised to it: how deep a valley is below that says what codec made the recording.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]
    sample_rate : int
        in Hz
    hop_length, n_fft, win_length : int
        in samples; frames are centred, zeros are taken beyond the ends
    n_bands : int
        octaves from fmin upwards, beside the band below fmin; each must begin below half the
        sample rate, and the last one reaches up to there
    fmin : float
        in Hz, at least the transform's first line over 0
    quantile : float
        share of a band's lines, over 0 and below 1, whose mean magnitude is its peak, and of as
        many its valley; at least one line
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
    librosa.feature.spectral_contrast of a spectrum floored in the same way, and so of any whose
    lines all lie over the floor; equal to 1e-9 dB in float64. Decibels of magnitudes are the
    library's: of powers they would be twice as many.
    """
    check_range("n_fft", n_fft, low=2)
    check_range("win_length", win_length, low=2, high=n_fft)
    check_range("hop_length", hop_length, low=1)
    check_transforms("n_fft", n_fft, waveform=waveform, n_fft=n_fft, hop_length=hop_length)
    bands = _bands(sample_rate, n_fft, n_bands, fmin, quantile)
    # Under -120 dB it would be lost in what float32 rounds off of louder lines.
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
    extremes = torch.cat(weakest + strongest, dim=-2)  # [..., 2 * lines that count, frames]
    # A line keeps its rank when it is raised to the floor: only those that count are.
    magnitudes = extremes.clamp_min(floor).sqrt()
    valleys, peaks = (means @ some for some in magnitudes.chunk(2, dim=-2))
    return 10 * (peaks / valleys).log10()


def describe(
    *, sample_rate: int, n_fft: int, n_bands: int, fmin: float, quantile: float, **_: object
) -> Description:
    """Decibels by band: the middle of its lines, in Hz. Settings as of `contrast`."""
    bands = _bands(sample_rate, n_fft, n_bands, fmin, quantile)
    middles = np.array([(first + end - 1) / 2 for first, end, _ in bands])
    return Description("peak over valley (dB)", "frequency (Hz)", middles * sample_rate / n_fft)


def _extremes(power: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` weakest and the `count` strongest lines of each frame, in any order."""
    if count == 1:  # many times faster
        return power.amin(dim=-2, keepdim=True), power.amax(dim=-2, keepdim=True)
    weakest, strongest = (
        power.topk(count, dim=-2, largest=largest, sorted=False).values for largest in (False, True)
    )
    return weakest, strongest


def _ratios(
    power: np.ndarray, order: np.ndarray, bands: np.ndarray, floor: float, ratios: np.ndarray
) -> None:
    """Fill [frames, bands] with peak over valley of each band of power [frames, lines].

    No branch depends on a value, so that one instruction looks at several lines; and what is
    compared are whole numbers, of which, unlike of floating ones, the compiler knows what the least
    and the most is. After the extreme line follows the next one, and how many lines have it.

    Parameters
    ----------
    power : float [frames, lines]
    order : int [frames, lines]
        the same bits: of numbers that are not negative they have the same order, and NaN is either
        the least or the most
    bands : int [bands, 3]
        see `_bands`
    floor : float
    ratios : float [frames, bands]
    """
    extremes = np.empty(2, order.dtype)
    values = extremes.view(power.dtype)
    for frame in range(len(order)):
        for band in range(len(bands)):
            first, end, count = bands[band]
            lines = order[frame, first:end]
            least = most = lines[0]
            for k in range(len(lines)):
                least, most = min(least, lines[k]), max(most, lines[k])
            low, high, valley, peak = least, most, 0.0, 0.0
            lows = highs = count  # how many lines are still to come
            while lows > 0 or highs > 0:
                extremes[0], extremes[1] = low, high
                low_lines = high_lines = 0
                for k in range(len(lines)):
                    low_lines += lines[k] == low
                    high_lines += lines[k] == high
                valley += min(lows, low_lines) * np.sqrt(max(values[0], floor))
                peak += min(highs, high_lines) * np.sqrt(max(values[1], floor))
                lows, highs = max(0, lows - low_lines), max(0, highs - high_lines)
                next_low, next_high = most, least
                for k in range(len(lines)):
                    next_low = min(next_low, lines[k] if lines[k] > low else most)
                    next_high = max(next_high, lines[k] if lines[k] < high else least)
                low, high = next_low, next_high
            ratios[frame, band] = peak / valley


# Inference mode is left while a constant is built: it would stay barred from gradients ever after.
@lru_cache
@torch.inference_mode(False)
def _means(counts: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """What [bands, sum of counts] to multiply with for the mean of so many rows each."""
    rows = np.repeat(np.eye(len(counts)) / counts, counts, axis=0)
    return torch.from_numpy(rows.T.copy()).to(device, dtype)


@lru_cache
def _bands(
    sample_rate: int, n_fft: int, n_bands: int, fmin: float, quantile: float
) -> tuple[tuple[int, int, int], ...]:
    """First line, the one after the last, and how many of them make a peak, of each band.

    A band begins one line below its lower edge and ends one below the last line up to its upper
    edge, as in the reference.
    """
    check_range("sample_rate", sample_rate, low=1)
    lowest, highest = sample_rate / n_fft, n_fft // 2 * sample_rate / n_fft
    if not lowest <= fmin < highest:
        raise ValueError(
            f"fmin: got {fmin}, want {lowest} (the first line over 0 Hz) to below {highest} "
            f"(the last one; sample_rate {sample_rate}, n_fft {n_fft})"
        )
    most = math.ceil(math.log2(highest / fmin))
    if not 1 <= n_bands <= most:
        raise ValueError(
            f"n_bands: got {n_bands}, want 1 to {most}, or a smaller fmin: the last band would "
            f"begin over {highest} Hz, the last line (fmin {fmin}, sample_rate {sample_rate})"
        )
    if not 0 < quantile < 1:
        raise ValueError(f"quantile: got {quantile}, want over 0 and below 1")
    lines = librosa.fft_frequencies(sr=sample_rate, n_fft=n_fft)
    edges = [0, *(fmin * 2.0**band for band in range(n_bands + 1))]
    bands = []
    for band in range(n_bands + 1):
        first = int(np.searchsorted(lines, edges[band])) - (band > 0)
        end = int(np.searchsorted(lines, edges[band + 1], side="right"))
        last = band == n_bands
        end = len(lines) if last else end
        count = max(1, int(np.rint(quantile * (end - first))))
        end = end if last else end - 1
        bands.append((first, end, min(count, end - first)))
    return tuple(bands)
