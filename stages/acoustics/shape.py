"""Shape of the spectrum: its centroid, bandwidth, roll-off and flatness."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from stages.acoustics import Description
from stages.settings.checks import check, check_range
from stages.signals.kernels import compiled, is_plain
from stages.signals.spectra import floored_spectrum

_STEP = 16  # lines summed at a time


def shape(
    waveform: Tensor,
    *,
    sample_rate: int,
    hop_length: int,
    n_fft: int,
    win_length: int,
    roll_percent: float,
    floor_db: float,
) -> Tensor:
    """Centroid, bandwidth, roll-off and flatness of the spectrum.

    Lines below the floor are raised to it, so silence counts as white noise and a fading sound
    approaches it gradually. Units are kHz and bels, which give all four about the same range. A
    float16 cache rounds kHz to 1 part in 2048: by at most 2 Hz up to 8 kHz.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]
    sample_rate : int
        in Hz
    hop_length, n_fft, win_length : int
        in samples; frames are centred, the signal is padded with zeros
    roll_percent : float
        fraction of the sum of magnitudes that lies below the roll-off, over 0 and below 1
    floor_db : float
        smallest power of a line, -120 to 0

    Returns
    -------
    Tensor [..., 4, frames]
        centroid: mean frequency weighted by magnitude, in kHz; bandwidth: standard deviation of
        the same distribution, in kHz; roll-off, in kHz; flatness: log10 of the geometric over the
        arithmetic mean of power (0: white); frames = 1 + samples // hop_length

    Raises
    ------
    ValueError
        for a setting outside its range; if the waveform is empty or holds NaN or infinity

    References
    ----------
    librosa.feature.spectral_centroid, spectral_bandwidth, spectral_rolloff and spectral_flatness of
    a spectrum with the same floor; equal to 1e-9 in float64
    """
    check_range("sample_rate", sample_rate, low=1)
    check("roll_percent", roll_percent, 0 < roll_percent < 1, "over 0 and below 1")
    power = floored_spectrum(
        waveform, n_fft=n_fft, win_length=win_length, hop_length=hop_length, floor_db=floor_db
    )
    khz = _lines_khz(sample_rate, n_fft, waveform.dtype, waveform.device)  # [n_fft // 2 + 1]
    if is_plain(waveform):
        return _by_kernel(power.transpose(-1, -2), khz, roll_percent).transpose(-1, -2)
    magnitude = power.sqrt()
    reached = magnitude.cumsum(dim=-2)
    total = reached[..., -1:, :]  # [..., 1, frames]
    centroid = (khz @ magnitude).unsqueeze(-2) / total
    # Not the mean square minus the squared mean: for a tone they are large and nearly equal.
    deviation = (khz.unsqueeze(-1) - centroid).square()
    bandwidth = ((deviation * magnitude).sum(dim=-2, keepdim=True) / total).sqrt()
    below = reached < roll_percent * total
    rolloff = below.to(waveform.dtype).sum(dim=-2, keepdim=True) * (sample_rate / n_fft / 1000)
    mean_log = power.log10().mean(dim=-2, keepdim=True)
    flatness = mean_log - power.mean(dim=-2, keepdim=True).log10()
    return torch.cat([centroid, bandwidth, rolloff, flatness], dim=-2)


def describe(**_: object) -> Description:
    """Three dimensions in kHz and a logarithm, by number. Takes the settings of `shape`."""
    return Description("frequency (kHz), flatness (log10)", "centroid to flatness", np.arange(4))


def _by_kernel(power: Tensor, khz: Tensor, roll_percent: float) -> Tensor:
    """`shape` [..., frames, 4] of power [..., frames, lines] in one pass.

    It takes logarithms of products of 8 lines, which float64 can represent, instead of logarithms
    of all lines.
    """
    lines = len(khz)
    values = power.new_empty(*power.shape[:-1], 4)
    products = torch.empty(*power.shape[:-1], -(-lines // 8), dtype=torch.float64)
    compiled(_moments)(
        power.reshape(-1, lines).numpy(),
        khz.numpy(),
        roll_percent,
        values.view(-1, 4).numpy(),
        products.view(-1, products.shape[-1]).numpy(),
    )
    values[..., 3] = products.log10_().sum(-1) / lines - values[..., 3].log10()
    return values


def _moments(
    power: np.ndarray,
    khz: np.ndarray,
    roll_percent: float,
    moments: np.ndarray,
    products: np.ndarray,
) -> None:
    """Fill two arrays with moments of each frame's spectrum and with products of its lines.

    Parameters
    ----------
    power : float [frames, lines]
    khz : float [lines]
        frequencies
    roll_percent : float
        see `shape`
    moments : float [frames, 4]
        results: centroid, bandwidth, roll-off and mean power
    products : float64 [frames, groups]
        results: products of every groups-th line, whose product is that of all lines
    """
    lines, groups = len(khz), products.shape[1]
    magnitude = np.empty_like(khz)
    for frame in range(len(power)):
        spectrum, product = power[frame, :lines], products[frame]
        total = weighted = energy = spread = khz[0]  # 0
        for k in range(lines):
            magnitude[k] = np.sqrt(spectrum[k])
            total += magnitude[k]
            weighted += magnitude[k] * khz[k]
            energy += spectrum[k]
        centroid = weighted / total
        for k in range(lines):
            spread += (khz[k] - centroid) ** 2 * magnitude[k]
        product[:] = 1
        for first in range(0, lines, groups):
            factors = spectrum[first : first + groups]
            for k in range(len(factors)):
                product[k] *= factors[k]
        moments[frame, 0] = centroid
        moments[frame, 1] = np.sqrt(spread / total)
        moments[frame, 3] = energy / lines
        # The cumulative sum, in steps of several lines that one instruction can add.
        threshold, reached, line = roll_percent * total, khz[0], 0
        while line + _STEP < lines:
            step = khz[0]
            for k in range(line, line + _STEP):
                step += magnitude[k]
            if reached + step >= threshold:
                break
            reached += step
            line += _STEP
        while line < lines - 1 and reached + magnitude[line] < threshold:
            reached += magnitude[line]
            line += 1
        moments[frame, 2] = khz[line]


# Built outside inference mode: a constant cached from inside it would block gradients for ever.
@lru_cache
@torch.inference_mode(False)
def _lines_khz(sample_rate: int, n_fft: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Frequency of each line of the transform; built once per process."""
    lines = np.arange(n_fft // 2 + 1) * (sample_rate / n_fft / 1000)
    return torch.from_numpy(lines).to(device, dtype)
