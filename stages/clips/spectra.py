"""What features are made of: centred frames, their means and their spectra, on the frame clock."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.clips.products import power_by_products
from stages.clips.room import check_memory


def check_setting(name: str, value: float, *, low: float, high: float = math.inf) -> None:
    """Raise a ValueError that names the setting unless low <= value <= high."""
    if not low <= value <= high:
        wanted = f"at least {low}" if high == math.inf else f"{low} to {high}"
        raise ValueError(f"{name}: got {value}, want {wanted}")


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
    low, high = waveform.detach().aminmax()  # passes NaN on, at a tenth of the time of isfinite
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("waveform: got NaN or infinite samples, want finite ones")


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
    """The same for what `power_spectrum` makes; n_fft may follow from the setting named."""
    samples = waveform.shape[-1]
    # The padded waveform; each transform's result, its squares, and their sum. The window, and what
    # it is made from, are no more than four transforms.
    numbers = samples + n_fft + 2.5 * n_fft * (5 + samples // hop_length)
    check_room(setting, value, waveform=waveform, numbers=numbers)


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
    check_waveform(waveform)
    numbers = 4 * (waveform.shape[-1] + frame_length)
    check_room("frame_length", frame_length, waveform=waveform, numbers=numbers)
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
    check_setting("n_fft", n_fft, low=2)
    check_setting("win_length", win_length, low=2, high=n_fft)
    check_setting("hop_length", hop_length, low=1)
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
    padded = centre_pad(waveform, frame_length=n_fft, pad_mode="constant")
    flat = padded.reshape(-1, padded.shape[-1])
    # The frames are left in the order in which they are computed: half the time of torch.stft.
    spectrum = torch.view_as_real(torch.fft.rfft(flat.unfold(-1, n_fft, hop_length) * window))
    spectrum = spectrum.transpose(1, 2)
    squares = spectrum * spectrum
    power = squares[..., 0] + squares[..., 1]
    return power.reshape(*waveform.shape[:-1], *power.shape[-2:])


def floored_spectrum(
    waveform: Tensor, *, n_fft: int, win_length: int, hop_length: int, floor_db: float
) -> Tensor:
    """`power_spectrum`, its lines under a floor in decibels (-120 to 0) raised to it.

    Ratios of lines are then defined in silence as well, and what is softer than any recording's
    noise does not count.
    """
    # Under -120 dB it would be lost in what float32 rounds off of louder lines.
    check_setting("floor_db", floor_db, low=-120, high=0)
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
