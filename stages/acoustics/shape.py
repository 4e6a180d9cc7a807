"""Shape of the spectrum: its centroid, bandwidth, roll-off and flatness."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from stages.acoustics import Description
from stages.running.checks import check_range
from stages.signals.kernels import compiled, is_plain
from stages.signals.spectra import floored_spectrum

_STEP = 16  # lines that are added up at a time


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
    """Where the spectrum lies, how wide it is, up to where it reaches, and how like noise it is.

    Lines under the floor are raised to it: silence is white, and what fades away becomes so bit by
    bit. In kHz and bels, so that the four have about the same range. A float16 cache rounds kHz to
    1 part in 2048: by at most 2 Hz up to 8 kHz.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]
    sample_rate : int
        in Hz
    hop_length, n_fft, win_length : int
        in samples; frames are centred, zeros are taken beyond the ends
    roll_percent : float
        share of the sum of magnitudes, over 0 and below 1, that lies up to the roll-off
    floor_db : float
        smallest power of a line, -120 to 0

    Returns
    -------
    Tensor [..., 4, frames]
        centroid: mean frequency, weighted by magnitude, in kHz; bandwidth: standard deviation from
        it, in kHz; roll-off, in kHz; flatness: log10 of the geometric over the arithmetic mean of
        power (0: white noise); frames = 1 + samples // hop_length

    Raises
    ------
    ValueError
        for a setting outside its range; if the waveform is empty or holds NaN or infinity

    References
    ----------
    librosa.feature.spectral_centroid, spectral_bandwidth, spectral_rolloff and spectral_flatness of
    a spectrum floored in the same way; equal to 1e-9 in float64
    """
    check_range("sample_rate", sample_rate, low=1)
    if not 0 < roll_percent < 1:
        raise ValueError(f"roll_percent: got {roll_percent}, want over 0 and below 1")
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
    # Not the mean square less the squared mean: of a tone both are large and nearly equal.
    deviation = (khz.unsqueeze(-1) - centroid).square()
    bandwidth = ((deviation * magnitude).sum(dim=-2, keepdim=True) / total).sqrt()
    below = reached < roll_percent * total
    rolloff = below.to(waveform.dtype).sum(dim=-2, keepdim=True) * (sample_rate / n_fft / 1000)
    mean_log = power.log10().mean(dim=-2, keepdim=True)
    flatness = mean_log - power.mean(dim=-2, keepdim=True).log10()
    return torch.cat([centroid, bandwidth, rolloff, flatness], dim=-2)


def describe(**_: object) -> Description:
    """Three in kHz and a logarithm, by number. Settings as of `shape`."""
    return Description("frequency (kHz), flatness (log10)", "centroid to flatness", np.arange(4))


def _by_kernel(power: Tensor, khz: Tensor, roll_percent: float) -> Tensor:
    """`shape` [..., frames, 4] of power [..., frames, lines] in one pass, and with an eighth of the
    logarithms: those of products, which double precision holds."""
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
    """Fill [frames, 4] with centroid, bandwidth, roll-off and mean of power [frames, lines], and
    [frames, products] with products of lines, all of which together are that of all lines."""
    lines, groups = len(khz), products.shape[1]
    magnitude = np.empty_like(khz)
    for frame in range(len(power)):
        own, product = power[frame, :lines], products[frame]
        total = weighted = energy = spread = khz[0]  # 0
        for k in range(lines):
            magnitude[k] = np.sqrt(own[k])
            total += magnitude[k]
            weighted += magnitude[k] * khz[k]
            energy += own[k]
        centroid = weighted / total
        for k in range(lines):
            spread += (khz[k] - centroid) ** 2 * magnitude[k]
        product[:] = 1
        for first in range(0, lines, groups):
            some = own[first : first + groups]
            for k in range(len(some)):
                product[k] *= some[k]
        moments[frame, 0] = centroid
        moments[frame, 1] = np.sqrt(spread / total)
        moments[frame, 3] = energy / lines
        # The sum so far, several lines at a time, which do not have to wait for each other.
        wanted, reached, last = roll_percent * total, khz[0], 0
        while last + _STEP < lines:
            more = khz[0]
            for k in range(last, last + _STEP):
                more += magnitude[k]
            if reached + more >= wanted:
                break
            reached += more
            last += _STEP
        while last < lines - 1 and reached + magnitude[last] < wanted:
            reached += magnitude[last]
            last += 1
        moments[frame, 2] = khz[last]


# Inference mode is left while a constant is built: it would stay barred from gradients ever after.
@lru_cache
@torch.inference_mode(False)
def _lines_khz(sample_rate: int, n_fft: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Frequency of each line of the transform, once per process."""
    lines = np.arange(n_fft // 2 + 1) * (sample_rate / n_fft / 1000)
    return torch.from_numpy(lines).to(device, dtype)
