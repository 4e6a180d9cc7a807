"""What features are made of: centred frames, their means and their spectra, on the frame clock."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.audio.frames import frame_count
from stages.running.checks import check_range
from stages.running.resources import check_memory
from stages.signals.kernels import compiled, is_plain
from stages.signals.products import power_by_products

_BLOCK = 1 << 19  # bytes of samples that are transformed at a time: they stay in a core's cache


def check_waveform(waveform: Tensor) -> None:
    """Raise a ValueError unless a waveform has samples, in float, all of them finite.

    Not looked at while a graph is traced: a branch on data would be frozen into it.
    """
    if torch.jit.is_tracing():
        return
    if not waveform.is_floating_point():
        raise ValueError(f"waveform: got {waveform.dtype}, want float32 or float64")
    if waveform.numel() == 0:
        raise ValueError("waveform: got no samples, want at least one")
    if is_plain(waveform):
        total = compiled(_nothing)(waveform.reshape(-1).numpy())
    else:
        total = (waveform.detach() - waveform.detach()).sum()
    if not math.isfinite(total):
        raise ValueError("waveform: got NaN or infinite samples, want finite ones")


def _nothing(samples: np.ndarray) -> float:
    """The sum of each sample less itself: NaN unless all are finite, else 0."""
    total = samples[0] - samples[0]
    for k in range(len(samples)):
        total += samples[k] - samples[k]
    return total


def check_room(setting: str, value: int, *, waveform: Tensor, numbers: float) -> None:
    """Raise a ValueError that names the setting if memory does not hold what is made with it.

    Only for what is computed on a CPU; not looked at while a graph is traced.

    Parameters
    ----------
    setting, value
        what to make smaller
    waveform : Tensor [..., samples]
    numbers : float
        how many of its type are in memory at the same time, per waveform
    """
    if torch.jit.is_tracing() or waveform.device.type != "cpu":
        return
    size = math.prod(waveform.shape[:-1]) * waveform.element_size()
    check_memory(
        f"{setting}: got {value}, want less, or shorter clips: one of {waveform.shape[-1]} samples",
        need=math.ceil(numbers * size),
    )


def check_transforms(
    setting: str, value: int, *, waveform: Tensor, n_fft: int, hop_length: int
) -> None:
    """The same for what `power_spectrum` makes, and a feature of it; n_fft may follow from the
    setting named."""
    samples = waveform.shape[-1]
    frames = 5 + samples // hop_length  # the window, and what it is made from, are no more than 4
    if is_plain(waveform):
        # Powers are half a transform; a feature has as many numbers at most, in three steps.
        rows = frames / 2 + 2 * min(frames, _rows(n_fft, waveform))
        numbers = n_fft * max(2 * frames, rows)
    else:  # the padded waveform; each transform's result, its squares, and their sum
        numbers = samples + n_fft + 2.5 * n_fft * frames
    check_room(setting, value, waveform=waveform, numbers=numbers)


def _rows(n_fft: int, waveform: Tensor) -> int:
    """How many frames are transformed at a time."""
    return max(1, _BLOCK // (n_fft * waveform.element_size()))


def check_frames(waveform: Tensor, *, frame_length: int) -> None:
    """What `centre_pad` raises; also for what is computed without: which settings are refused does
    not depend on where it is."""
    check_waveform(waveform)
    numbers = 4 * (waveform.shape[-1] + frame_length)
    check_room("frame_length", frame_length, waveform=waveform, numbers=numbers)


def centre_pad(
    waveform: Tensor, *, frame_length: int, pad_mode: Literal["constant", "replicate"]
) -> Tensor:
    """Lengthen a waveform so that frame t, of its samples from t * hop_length, is centred there.

    Parameters
    ----------
    waveform : Tensor [..., samples]
    frame_length : int
        in samples
    pad_mode : {"constant", "replicate"}
        with zeros, or by repeating the first and last sample; neither needs a minimum length

    Returns
    -------
    Tensor [..., samples + frame_length]

    Raises
    ------
    ValueError
        if the waveform is empty or holds NaN or infinity; if memory does not hold its frames
    """
    check_frames(waveform, frame_length=frame_length)
    left = frame_length // 2
    right = frame_length - left
    if pad_mode == "constant":
        return F.pad(waveform, (left, right))
    shape = waveform.shape[:-1]
    first, last = waveform[..., :1].expand(*shape, left), waveform[..., -1:].expand(*shape, right)
    return torch.cat([first, waveform, last], dim=-1)  # a fourth of the time of F.pad


def frame_mean(padded: Tensor, *, frame_length: int, hop_length: int) -> Tensor:
    """Mean of each frame, without cutting the frames out.

    Parameters
    ----------
    padded : Tensor [..., samples]
        already padded: the first frame begins at its first sample
    frame_length, hop_length : int
        in samples, at least 1

    Returns
    -------
    Tensor [..., 1, frames]
    """
    if not torch.jit.is_tracing():
        return padded.unfold(-1, frame_length, hop_length).mean(-1).unsqueeze(-2)
    # The exporter does not know that; this takes many times longer.
    flat = padded.reshape(-1, 1, padded.shape[-1])  # its pooling takes no other shape
    means = F.avg_pool1d(flat, frame_length, hop_length)
    return means.reshape(*padded.shape[:-1], 1, means.shape[-1])


def power_spectrum(waveform: Tensor, *, n_fft: int, win_length: int, hop_length: int) -> Tensor:
    """Squared magnitude of the short-time Fourier transform under a periodic Hann window.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        any length from one sample; zeros are taken beyond its ends
    n_fft : int
        points of each transform
    win_length : int
        samples under the window, centred in the transform
    hop_length : int
        samples from one frame to the next

    Returns
    -------
    Tensor [..., n_fft // 2 + 1, frames]
        frames = 1 + samples // hop_length

    Raises
    ------
    ValueError
        unless 2 <= win_length <= n_fft and hop_length >= 1; if memory does not hold the
        transforms; if the waveform is empty or holds NaN or infinity

    References
    ----------
    librosa.stft, its magnitude squared, equal to 1e-10 of the largest value in float64
    """
    check_range("n_fft", n_fft, low=2)
    check_range("win_length", win_length, low=2, high=n_fft)
    check_range("hop_length", hop_length, low=1)
    check_transforms("n_fft", n_fft, waveform=waveform, n_fft=n_fft, hop_length=hop_length)
    if torch.jit.is_tracing():
        power = power_by_products(
            waveform.reshape(-1, waveform.shape[-1]),
            window=_periodic_hann(win_length),
            n_fft=n_fft,
            hop_length=hop_length,
        )
        return power.reshape(*waveform.shape[:-1], *power.shape[-2:])
    window = _hann_window(n_fft, win_length, waveform.dtype, waveform.device)
    if is_plain(waveform):
        check_waveform(waveform)
        return _power_by_kernels(waveform, window, hop_length)
    padded = centre_pad(waveform, frame_length=n_fft, pad_mode="constant")
    flat = padded.reshape(-1, padded.shape[-1])
    # The frames are left in the order in which they are computed: half the time of torch.stft.
    spectrum = torch.view_as_real(torch.fft.rfft(flat.unfold(-1, n_fft, hop_length) * window))
    spectrum = spectrum.transpose(1, 2)
    squares = spectrum * spectrum
    power = squares[..., 0] + squares[..., 1]
    return power.reshape(*waveform.shape[:-1], *power.shape[-2:])


def _power_by_kernels(waveform: Tensor, window: Tensor, hop_length: int) -> Tensor:
    """`power_spectrum` in half the time that its operations take: few enough frames at a time, and
    what lies before and after the transform in one pass each."""
    n_fft, each = len(window), frame_count(waveform.shape[-1], hop_length=hop_length)
    samples = waveform.reshape(-1, waveform.shape[-1]).numpy()
    frames = len(samples) * each
    power = waveform.new_empty(frames, n_fft // 2 + 1)
    rows = _rows(n_fft, waveform)
    block = waveform.new_empty(min(frames, rows), n_fft)
    for first in range(0, frames, rows):
        some = block[: frames - first]
        compiled(_cut)(samples, window.numpy(), hop_length, each, first, some.numpy())
        compiled(_square)(
            torch.view_as_real(torch.fft.rfft(some)).flatten(-2).numpy(),
            power[first : first + rows].numpy(),
        )
    return power.reshape(*waveform.shape[:-1], each, -1).transpose(-1, -2)


def _cut(
    waveforms: np.ndarray,
    window: np.ndarray,
    hop_length: int,
    each: int,
    first: int,
    frames: np.ndarray,
) -> None:
    """Fill [frames, n_fft] with centred frames under the window: of all waveforms, of which each
    has so many, those from number `first` on."""
    n_fft, n_samples = len(window), waveforms.shape[1]
    for row in range(len(frames)):
        waveform, frame = divmod(first + row, each)
        start = frame * hop_length - n_fft // 2
        begin = min(n_fft, max(0, -start))  # zeros are taken beyond the ends
        end = max(begin, min(n_fft, n_samples - start))
        frames[row, :begin] = 0
        frames[row, end:] = 0
        # Parts of arrays, as an index that might be negative keeps the compiler from joining steps.
        part, under = frames[row, begin:end], window[begin:end]
        own = waveforms[waveform, start + begin : start + end]
        for k in range(len(part)):
            part[k] = own[k] * under[k]


def _square(numbers: np.ndarray, power: np.ndarray) -> None:
    """Fill [frames, lines] with squared magnitudes; both parts in turn are [frames, 2 lines]."""
    for row in range(len(power)):
        for k in range(power.shape[1]):
            power[row, k] = numbers[row, 2 * k] ** 2 + numbers[row, 2 * k + 1] ** 2


def weighted_sums(filters: Tensor, spectrum: Tensor, *, lines: np.ndarray | None = None) -> Tensor:
    """The matrix product of filters [filters, lines] and a spectrum [..., lines, frames].

    It is left in the order of frames, in which a spectrum is computed, a network is given it and a
    cache holds it. Where each filter is 0 outside of a few lines, `lines` [filters, 2] may say
    which is its first and which the one after its last: half the time.
    """
    if lines is not None and is_plain(spectrum):
        rows = spectrum.transpose(-1, -2)  # [..., frames, lines]
        sums = rows.new_empty(*rows.shape[:-1], len(filters))
        flat, own = rows.reshape(-1, rows.shape[-1]).numpy(), sums.view(-1, len(filters)).numpy()
        compiled(_band_sums)(flat, filters.numpy(), lines, own)
        return sums.transpose(-1, -2)
    return (spectrum.transpose(-1, -2) @ filters.T).transpose(-1, -2)


def _band_sums(
    spectrum: np.ndarray, filters: np.ndarray, lines: np.ndarray, sums: np.ndarray
) -> None:
    """Fill [frames, filters] with the sum of each filter's lines, weighted."""
    for frame in range(len(sums)):
        for band in range(len(filters)):
            first, end = lines[band]
            own, weights = spectrum[frame, first:end], filters[band, first:end]
            total = sums.dtype.type(0)
            for k in range(len(own)):
                total += own[k] * weights[k]
            sums[frame, band] = total


def floored_spectrum(
    waveform: Tensor, *, n_fft: int, win_length: int, hop_length: int, floor_db: float
) -> Tensor:
    """`power_spectrum`, its lines under a floor in decibels (-120 to 0) raised to it.

    Ratios of lines are then defined in silence as well, and what is softer than any recording's
    noise does not count.
    """
    # Under -120 dB it would be lost in what float32 rounds off of louder lines.
    check_range("floor_db", floor_db, low=-120, high=0)
    power = power_spectrum(waveform, n_fft=n_fft, win_length=win_length, hop_length=hop_length)
    return power.clamp_min_(10 ** (floor_db / 10))


# Inference mode is left while a constant is built: it would stay barred from gradients ever after.
@lru_cache
@torch.inference_mode(False)
def _hann_window(n_fft: int, win_length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The window with zeros around it up to n_fft samples, once per process."""
    left = (n_fft - win_length) // 2
    padded = np.pad(_periodic_hann(win_length), (left, n_fft - win_length - left))
    return torch.from_numpy(padded).to(device, dtype)


def _periodic_hann(win_length: int) -> np.ndarray:
    """A Hann window [win_length]: one sample less of the symmetric one."""
    return np.hanning(win_length + 1)[:-1]
