"""Approximate entropy: how little of a frame's envelope can be told from what it was before."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from stages.acoustics import Description
from stages.audio.frames import frame_count
from stages.running.checks import check_range
from stages.signals.kernels import check_plain, compiled
from stages.signals.spectra import centre_pad, check_room, check_waveform

_AT_ONCE = 256  # frames
_CONSTANT = 1e-9  # deviation, as a share of the largest value: what transforms leave by rounding


def apen(
    waveform: Tensor,
    *,
    sample_rate: int,
    hop_length: int,
    frame_length: int,
    m: int,
    r: float,
) -> Tensor:
    """Approximate entropy of each frame's envelope.

    Of all pairs of places in a frame where m samples are alike, the share of those where the next
    one is alike as well, in nats: 0 for what goes on as it did, as a steady voice does, about 1
    for breath and roughness. Loudness has no part in it.

    The envelope is the magnitude of the analytic signal of the frame with as much sound before and
    after it, so that the ends at which a transform meets itself lie outside the frame. Of a whole
    clip, it would depend on all that is said later, and a long one would not fit into memory.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]; computed in float64 on the CPU, whatever its type and device
    sample_rate : int
        in Hz; every feature is given it, this one does not need it
    hop_length, frame_length : int
        in samples; frames are centred, zeros are taken beyond the ends
    m : int
        samples in a row that are compared, 1 to frame_length - 1
    r : float
        largest difference of samples that are alike, over 0, in standard deviations of the frame's
        envelope (of all its samples: divided by their number)

    Returns
    -------
    Tensor [..., 1, frames]
        nats, at least 0 but for rounding by 1 / frame_length; 0 where the envelope is constant, as
        in silence; frames = 1 + samples // hop_length

    Raises
    ------
    ValueError
        for a setting outside its range; for a waveform with gradients, or while a graph is traced;
        if the waveform is empty or holds NaN or infinity

    References
    ----------
    Pincus, Approximate entropy as a measure of system complexity, PNAS 88 (1991): natural
    logarithm, each place counts as like itself; equal to 1e-9
    scipy.signal.hilbert, of three frames' length; equal to 1e-9
    """
    check_range("sample_rate", sample_rate, low=1)
    check_range("hop_length", hop_length, low=1)
    check_range("frame_length", frame_length, low=2)
    check_range("m", m, low=1, high=frame_length - 1)
    if not 0 < r < math.inf:
        raise ValueError(f"r: got {r}, want over 0")
    check_plain(waveform, name="apen")
    samples = waveform.shape[-1]
    frames = frame_count(samples, hop_length=hop_length)
    together = min(frames, _AT_ONCE)
    # In float64: the padded waveform, and what its frames are on the way to envelopes.
    numbers = 2 * (4 * (samples + 3 * frame_length) + 15 * frame_length * together + frames)
    check_room("frame_length", frame_length, waveform=waveform, numbers=numbers)
    check_waveform(waveform)
    flat = waveform.reshape(-1, samples).cpu().double()
    padded = centre_pad(flat, frame_length=3 * frame_length, pad_mode="constant")
    values = np.empty((len(flat), frames))
    for signal, row in zip(padded.unfold(-1, 3 * frame_length, hop_length), values, strict=True):
        for first in range(0, frames, together):
            part = slice(first, min(first + together, frames))
            row[part] = compiled(_entropies)(_envelopes(signal[part]).numpy(), m, r, _CONSTANT)
    return torch.from_numpy(values).to(waveform).reshape(*waveform.shape[:-1], 1, frames)


def describe(**_: object) -> Description:
    """Nats, of a single dimension. Settings as of `apen`."""
    return Description("approximate entropy (nats)", "", np.zeros(1))


def _envelopes(signals: Tensor) -> Tensor:
    """Magnitude of the analytic signal in the middle third of each: [frames, samples / 3]."""
    length = signals.shape[-1]
    # A quarter period later: the transform's inverse has no use for the ends' imaginary parts.
    shifted = torch.fft.irfft(-1j * torch.fft.rfft(signals), n=length)
    middle = slice(length // 3, 2 * length // 3)
    return torch.hypot(signals[:, middle], shifted[:, middle])


def _entropies(frames: np.ndarray, m: int, r: float, constant: float) -> np.ndarray:
    """Approximate entropy of each frame.

    Pairs of places are taken by their distance, and each distance in whole rows, because one
    instruction then compares several pairs: faster than to stop at the first difference.

    Parameters
    ----------
    frames : float64 [frames, samples]
    m, r
        see `apen`
    constant : float
        standard deviation, as a share of the largest magnitude, up to which a frame is constant

    Returns
    -------
    float64 [frames]
    """
    length = frames.shape[1]
    places = length - m + 1
    entropies = np.zeros(len(frames))
    near, alike = np.empty((2, length), np.uint8)
    for f in range(len(frames)):
        frame = frames[f].copy()
        deviation = frame.std()
        if deviation <= constant * np.abs(frame).max():
            continue
        reach = r * deviation
        # Places that m samples, and the next one too, are alike to: itself, those after, before.
        after, after_long = np.ones(places, np.int32), np.ones(places - 1, np.int32)
        before, before_long = np.zeros(places, np.int32), np.zeros(places - 1, np.int32)
        for apart in range(1, places):
            pairs = places - apart
            later = frame[apart:]
            for i in range(length - apart):
                near[i] = abs(frame[i] - later[i]) <= reach
            for i in range(pairs):
                alike[i] = near[i]
            for k in range(1, m):
                following = near[k:]
                for i in range(pairs):
                    alike[i] &= following[i]
            found = before[apart:]
            for i in range(pairs):
                after[i] += alike[i]
                found[i] += alike[i]
            following, found = near[m:], before_long[apart:]
            for i in range(pairs - 1):
                longer = alike[i] & following[i]
                after_long[i] += longer
                found[i] += longer
        short = np.log((after + before) / places).mean()
        entropies[f] = short - np.log((after_long + before_long) / (places - 1)).mean()
    return entropies
