"""Centred frames on the common frame clock, their means and their power spectra."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.audio.frames import frame_count
from stages.settings.checks import check_range
from stages.signals.kernels import compiled, is_plain
from stages.signals.products import power_by_products

_BLOCK = 1 << 19  # bytes of samples transformed at a time: they stay in a core's cache


def check_waveform(waveform: Tensor) -> None:
    """Check that a waveform holds finite floating-point samples.

    Skipped while a graph is traced: a branch on data would be frozen into the graph.

    Parameters
    ----------
    waveform : Tensor [..., samples]

    Raises
    ------
    ValueError
        if the waveform is empty, is not float, or holds NaN or infinity
    """
    if torch.jit.is_tracing():
        return
    if not waveform.is_floating_point():
        raise ValueError(f"waveform: got {waveform.dtype}, want float32 or float64")
    if waveform.numel() == 0:
        raise ValueError("waveform: got no samples, want at least one")
    if is_plain(waveform):
        total = compiled(_zero_if_finite)(waveform.reshape(-1).numpy())
    else:
        total = (waveform.detach() - waveform.detach()).sum()
    if not math.isfinite(total):
        raise ValueError("waveform: got NaN or infinite samples, want finite ones")


def _zero_if_finite(samples: np.ndarray) -> float:
    """Sum of each sample minus itself: 0 if all samples are finite, else NaN."""
    total = samples[0] - samples[0]
    for k in range(len(samples)):
        total += samples[k] - samples[k]
    return total


def centre_pad(
    waveform: Tensor, *, frame_length: int, pad_mode: Literal["constant", "replicate"]
) -> Tensor:
    """Pad a waveform by half a frame at each end.

    The frame that begins at sample t * hop_length of the result is centred on that sample of the
    waveform.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        of any length from one sample
    frame_length : int
        in samples
    pad_mode : {"constant", "replicate"}
        pad with zeros, or repeat the first and last sample

    Returns
    -------
    Tensor [..., samples + frame_length]

    Raises
    ------
    ValueError
        if the waveform is empty or holds NaN or infinity
    """
    check_waveform(waveform)
    left = frame_length // 2
    right = frame_length - left
    if pad_mode == "constant":
        return F.pad(waveform, (left, right))
    shape = waveform.shape[:-1]
    first, last = waveform[..., :1].expand(*shape, left), waveform[..., -1:].expand(*shape, right)
    return torch.cat([first, waveform, last], dim=-1)  # a quarter of the time of F.pad


def frame_mean(padded: Tensor, *, frame_length: int, hop_length: int) -> Tensor:
    """Mean of each frame, without a copy of the frames.

    Parameters
    ----------
    padded : Tensor [..., samples]
        a padded waveform: the first frame begins at its first sample
    frame_length, hop_length : int
        in samples, at least 1

    Returns
    -------
    Tensor [..., 1, frames]
    """
    if not torch.jit.is_tracing():
        return padded.unfold(-1, frame_length, hop_length).mean(-1).unsqueeze(-2)
    # The exporter cannot convert `unfold`. Pooling takes many times longer.
    flat = padded.reshape(-1, 1, padded.shape[-1])  # the only shape that the exporter can pool
    means = F.avg_pool1d(flat, frame_length, hop_length)
    return means.reshape(*padded.shape[:-1], 1, means.shape[-1])


def power_spectrum(
    waveform: Tensor, *, n_fft: int, win_length: int, hop_length: int, floor: float = 0.0
) -> Tensor:
    """Squared magnitude of the short-time Fourier transform under a periodic Hann window.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        of any length from one sample, padded with zeros at both ends
    n_fft : int
        points of each transform
    win_length : int
        samples of the window, centred in the transform
    hop_length : int
        samples from one frame to the next
    floor : float
        smallest value, to which lower ones are raised

    Returns
    -------
    Tensor [..., n_fft // 2 + 1, frames]
        frames = 1 + samples // hop_length

    Raises
    ------
    ValueError
        unless 2 <= win_length <= n_fft and hop_length >= 1; if the waveform is empty or holds NaN
        or infinity

    References
    ----------
    librosa.stft, magnitude squared; equal to 1e-10 of the largest value in float64
    """
    check_range("n_fft", n_fft, low=2)
    check_range("win_length", win_length, low=2, high=n_fft)
    check_range("hop_length", hop_length, low=1)
    if torch.jit.is_tracing():
        power = power_by_products(
            waveform.reshape(-1, waveform.shape[-1]),
            window=_periodic_hann(win_length),
            n_fft=n_fft,
            hop_length=hop_length,
        )
        power = power.reshape(*waveform.shape[:-1], *power.shape[-2:])
        return power.clamp_min(floor) if floor else power
    window = _hann_window(n_fft, win_length, waveform.dtype, waveform.device)
    if is_plain(waveform):
        check_waveform(waveform)
        return _power_by_kernels(waveform, window, hop_length, floor)
    padded = centre_pad(waveform, frame_length=n_fft, pad_mode="constant")
    flat = padded.reshape(-1, padded.shape[-1])
    # Frames keep the order in which they are computed: half the time of torch.stft.
    spectrum = torch.view_as_real(torch.fft.rfft(flat.unfold(-1, n_fft, hop_length) * window))
    spectrum = spectrum.transpose(1, 2)
    squares = spectrum * spectrum
    power = squares[..., 0] + squares[..., 1]
    power = power.reshape(*waveform.shape[:-1], *power.shape[-2:])
    return power.clamp_min(floor) if floor else power


def _power_by_kernels(waveform: Tensor, window: Tensor, hop_length: int, floor: float) -> Tensor:
    """`power_spectrum` in half the time of its torch operations.

    Frames are transformed block by block. One compiled loop applies the window before each
    transform, and another squares the magnitudes after it.
    """
    n_fft, samples, weights = len(window), waveform.detach().numpy(), window.numpy()
    samples = samples.reshape(-1, samples.shape[-1])
    n_frames = frame_count(samples.shape[1], hop_length=hop_length)
    total, kind = len(samples) * n_frames, samples.dtype
    power = np.empty((total, n_fft // 2 + 1), kind)
    rows = max(1, _BLOCK // (n_fft * kind.itemsize))
    buffer = np.empty((min(total, rows), n_fft), kind)
    for first in range(0, total, rows):
        frames = buffer[: total - first]
        compiled(_windowed)(samples, weights, hop_length, n_frames, first, frames)
        spectrum = torch.fft.rfft(torch.from_numpy(frames)).numpy()
        compiled(_square)(spectrum.view(kind), floor, power[first : first + rows])
    shape = (*waveform.shape[:-1], n_frames, n_fft // 2 + 1)
    return torch.from_numpy(power).reshape(shape).transpose(-1, -2)


def _windowed(
    waveforms: np.ndarray,
    window: np.ndarray,
    hop_length: int,
    n_frames: int,
    first: int,
    frames: np.ndarray,
) -> None:
    """Fill an array with centred frames under a window.

    Parameters
    ----------
    waveforms : float [waveforms, samples]
    window : float [n_fft]
    hop_length : int
        in samples
    n_frames : int
        frames of each waveform
    first : int
        number of the first frame to fill in, counted over all waveforms
    frames : float [frames, n_fft]
        the result
    """
    n_fft, n_samples = len(window), waveforms.shape[1]
    for row in range(len(frames)):
        waveform, frame = divmod(first + row, n_frames)
        start = frame * hop_length - n_fft // 2
        begin = min(n_fft, max(0, -start))  # zeros before the first sample and after the last
        end = max(begin, min(n_fft, n_samples - start))
        frames[row, :begin] = 0
        frames[row, end:] = 0
        # Slices: an index that might be negative keeps the compiler from vectorising the loop.
        target, weights = frames[row, begin:end], window[begin:end]
        samples = waveforms[waveform, start + begin : start + end]
        for k in range(len(target)):
            target[k] = samples[k] * weights[k]


def _square(spectrum: np.ndarray, floor: float, power: np.ndarray) -> None:
    """Fill power [frames, lines] with the squared magnitudes of a spectrum [frames, 2 * lines].

    Real and imaginary parts alternate in the spectrum. Magnitudes are raised to the floor.
    """
    least = power.dtype.type(floor)
    for row in range(len(power)):
        for k in range(power.shape[1]):
            square = spectrum[row, 2 * k] ** 2 + spectrum[row, 2 * k + 1] ** 2
            power[row, k] = square if square > least else least


def weighted_sums(filters: Tensor, spectrum: Tensor, *, lines: np.ndarray | None = None) -> Tensor:
    """Apply a filterbank to a spectrum.

    In memory, the result is ordered frame by frame, as networks and caches want it.

    Parameters
    ----------
    filters : Tensor [filters, lines]
    spectrum : Tensor [..., lines, frames]
    lines : int [filters, 2] or None
        first line of each filter and the one after its last, where its other weights are 0: half
        the time of a matrix product

    Returns
    -------
    Tensor [..., filters, frames]
    """
    if lines is not None and is_plain(spectrum):
        rows = spectrum.transpose(-1, -2)  # [..., frames, lines]
        sums = rows.new_empty(*rows.shape[:-1], len(filters))
        compiled(_band_sums)(
            rows.reshape(-1, rows.shape[-1]).numpy(),
            filters.numpy(),
            lines,
            sums.view(-1, len(filters)).numpy(),
        )
        return sums.transpose(-1, -2)
    return (spectrum.transpose(-1, -2) @ filters.T).transpose(-1, -2)


def _band_sums(
    spectrum: np.ndarray, filters: np.ndarray, lines: np.ndarray, sums: np.ndarray
) -> None:
    """Fill sums [frames, filters] with each filter's weighted sum of its lines."""
    for frame in range(len(sums)):
        for band in range(len(filters)):
            first, end = lines[band]
            values, weights = spectrum[frame, first:end], filters[band, first:end]
            total = sums.dtype.type(0)
            for k in range(len(values)):
                total += values[k] * weights[k]
            sums[frame, band] = total


def mel_edges(n_mels: int, *, fmin: float, fmax: float) -> list[float]:
    """Edges of bands of equal width on the mel scale, by arithmetic that any check can afford.

    Parameters
    ----------
    n_mels : int
        number of bands; each reaches from an edge to the one after the next
    fmin, fmax : float
        lowest and highest edge, in Hz

    Returns
    -------
    list of float
        n_mels + 2 edges, in Hz

    References
    ----------
    librosa.mel_frequencies (Slaney's scale: linear to 1 kHz, then logarithmic), equal to 1e-12
    """
    step_hz, log_step = 200 / 3, math.log(6.4) / 27

    def to_mel(hz: float) -> float:
        return hz / step_hz if hz < 1000 else 15 + math.log(hz / 1000) / log_step

    low, high = to_mel(fmin), to_mel(fmax)
    mels = [low + (high - low) * number / (n_mels + 1) for number in range(n_mels + 2)]
    return [mel * step_hz if mel < 15 else 1000 * math.exp(log_step * (mel - 15)) for mel in mels]


def mel_filters(
    n_mels: int, *, fmin: float, fmax: float, n_fft: int, sample_rate: int
) -> np.ndarray:
    """Triangular filters of equal area between the edges of `mel_edges`.

    Parameters
    ----------
    n_mels, fmin, fmax
        see `mel_edges`
    n_fft : int
        points of the transform
    sample_rate : int
        in Hz

    Returns
    -------
    float64 [n_mels, n_fft // 2 + 1]

    References
    ----------
    librosa.filters.mel, equal to 1e-12; with it, each process would wait .7 s for scipy.signal
    """
    edges = np.array(mel_edges(n_mels, fmin=fmin, fmax=fmax))[:, None]  # in Hz
    lines = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    rising = (lines - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - lines) / (edges[2:] - edges[1:-1])
    return np.minimum(rising, falling).clip(min=0) * 2 / (edges[2:] - edges[:-2])


def floored_spectrum(
    waveform: Tensor, *, n_fft: int, win_length: int, hop_length: int, floor_db: float
) -> Tensor:
    """`power_spectrum` with a lower limit.

    The floor defines ratios of lines in silence, and hides lines softer than the noise of any
    recording.

    Parameters
    ----------
    waveform, n_fft, win_length, hop_length
        see `power_spectrum`
    floor_db : float
        smallest power of a line, -120 to 0 dB

    Returns
    -------
    Tensor [..., n_fft // 2 + 1, frames]

    Raises
    ------
    ValueError
        for a floor outside its range; see `power_spectrum`
    """
    # Below -120 dB the floor would vanish in float32's rounding of louder lines.
    check_range("floor_db", floor_db, low=-120, high=0)
    framing = {"n_fft": n_fft, "win_length": win_length, "hop_length": hop_length}
    return power_spectrum(waveform, **framing, floor=10 ** (floor_db / 10))


# Built outside inference mode: a constant cached from inside it would block gradients for ever.
@lru_cache
@torch.inference_mode(False)
def _hann_window(n_fft: int, win_length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The window, padded with zeros to n_fft samples on both sides; built once per process."""
    left = (n_fft - win_length) // 2
    padded = np.pad(_periodic_hann(win_length), (left, n_fft - win_length - left))
    return torch.from_numpy(padded).to(device, dtype)


def _periodic_hann(win_length: int) -> np.ndarray:
    """Periodic Hann window [win_length]: the symmetric one without its last sample."""
    return np.hanning(win_length + 1)[:-1]
