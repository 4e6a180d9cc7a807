"""Power spectrum as matrix products, for exported graphs.

The inference runtimes' own operator for the short-time Fourier transform takes six times as long.
A transform of n_fft = A * B points is split into transforms of A and of B points (Cooley and Tukey,
1965). Each is a product with a small matrix, so neither the time nor the file grows with the square
of n_fft.
"""

from __future__ import annotations

from functools import lru_cache
from math import isqrt

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def power_by_products(
    waveform: Tensor, *, window: np.ndarray, n_fft: int, hop_length: int
) -> Tensor:
    """Squared magnitude of the short-time Fourier transform.

    Parameters
    ----------
    waveform : Tensor [batch, samples]
        of any length, padded with zeros at both ends
    window : float [win_length]
        at most n_fft samples; frames are centred on multiples of hop_length
    n_fft : int
        points of each transform; a shorter window is padded with zeros
    hop_length : int
        samples from one frame to the next

    Returns
    -------
    Tensor [batch, n_fft // 2 + 1, frames]
        frames = 1 + samples // hop_length

    References
    ----------
    stages.signals.spectra.power_spectrum, equal to 1e-6 of the largest value in float32
    """
    a, b = _factors(n_fft)
    first, second = _matrices(n_fft, tuple(window.tolist()), waveform.dtype)
    batch, samples = waveform.shape
    used = first.shape[1] * b  # samples of a frame: the window, and zeros up to a whole row
    # A frame is a few hops side by side, so no sample is gathered one by one.
    hops, frames = -(-used // hop_length), 1 + samples // hop_length
    left = n_fft // 2 - (n_fft - len(window)) // 2  # a window of odd length is not quite centred
    padded = F.pad(waveform, (left, hops * hop_length))
    shifted = [
        padded[:, start : start + frames * hop_length].reshape(batch, -1, hop_length)
        for start in range(0, hops * hop_length, hop_length)
    ]
    framed = torch.cat(shifted, dim=-1)[..., :used]  # [batch, frames, used]
    # Sample j of a frame is b * row + column. First the transforms over rows, of A points.
    columns = framed.reshape(-1, first.shape[1], b).permute(2, 0, 1)  # [b, batch * frames, rows]
    partial = columns @ first  # [b, batch * frames, 2 * a], real and imaginary
    # Then the transforms over columns, of B points, up to half the sample rate.
    products = partial.permute(1, 2, 0).reshape(-1, b) @ second
    lines = second.shape[1] // 2
    real, imaginary = products.reshape(-1, 2, a, 2 * lines).unbind(1)  # each times cosine | sine
    real, imaginary = (
        real[..., :lines] + imaginary[..., lines:],
        imaginary[..., :lines] - real[..., lines:],
    )
    power = real * real + imaginary * imaginary  # [batch * frames, a, lines]
    # Line k of the transform is a * (its index in the second) + (its index in the first).
    power = power.transpose(1, 2).reshape(batch, -1, a * lines)
    return power[..., : n_fft // 2 + 1].transpose(1, 2)


def _factors(n_fft: int) -> tuple[int, int]:
    """The two integers closest to each other whose product is n_fft."""
    a = next(d for d in range(isqrt(n_fft), 0, -1) if n_fft % d == 0)
    return a, n_fft // a


# Built outside inference mode: a constant cached from inside it would block gradients for ever.
@lru_cache
@torch.inference_mode(False)
def _matrices(n_fft: int, window: tuple[float, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Matrices of the transforms over rows and over columns.

    Returns
    -------
    first : Tensor [b, rows, 2 * a]
        for each column, the window times the cosine and negative sine of A points, with the
        column's phase
    second : Tensor [b, 2 * lines]
        cosine and sine of B points
    """
    a, b = _factors(n_fft)
    rows = -(-len(window) // b)
    padded = np.zeros(rows * b)
    padded[: len(window)] = window
    sample = np.arange(rows * b).reshape(rows, b).T  # [b, rows]
    angle = 2 * np.pi * (sample[..., None] * np.arange(a) % n_fft) / n_fft
    first = padded[sample][..., None] * np.stack([np.cos(angle), -np.sin(angle)])
    angle = 2 * np.pi * (np.arange(b)[:, None] * np.arange(n_fft // 2 // a + 1) % b) / b
    second = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    return (
        torch.from_numpy(np.concatenate(list(first), axis=-1)).to(dtype),
        torch.from_numpy(second).to(dtype),
    )
