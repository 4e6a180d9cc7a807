"""Approximate entropy: how unpredictable the envelope of a frame is."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from stages.acoustics import Description
from stages.audio.frames import frame_count
from stages.settings.checks import check, check_range
from stages.signals.kernels import check_plain, compiled
from stages.signals.spectra import centre_pad, check_waveform

_BLOCK = 256  # frames computed at a time
_CONSTANT = 1e-9  # deviation of a constant envelope over its largest value: a transform's rounding


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

    It compares all stretches of m samples in a frame. Where two stretches match, their next samples
    match with some probability; the entropy is the mean negative logarithm of that probability. It
    is 0 nats for a signal that continues as before, such as a steady voice, and about 1 for breath
    and roughness. Loudness has no effect.

    The envelope is the magnitude of the analytic signal. Its transform spans three frames, so the
    edges, where it wraps around, lie outside the frame in the middle. The envelope of a whole clip
    would make each frame depend on later speech, and its memory would grow with the clip.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]; computed in float64 on the CPU, whatever its dtype and device
    sample_rate : int
        in Hz; every feature takes it, this one does not use it
    hop_length, frame_length : int
        in samples; frames are centred, the signal is padded with zeros
    m : int
        length of the stretches that are compared, in samples, 1 to frame_length - 1
    r : float
        largest difference between samples that match, over 0, in standard deviations of the frame's
        envelope (with the divisor n)

    Returns
    -------
    Tensor [..., 1, frames]
        nats, at least 0 up to an error of 1 / frame_length; 0 where the envelope is constant, as in
        silence; frames = 1 + samples // hop_length

    Raises
    ------
    ValueError
        for a setting outside its range; for a waveform with gradients, or while a graph is traced;
        if the waveform is empty or holds NaN or infinity

    References
    ----------
    Pincus, Approximate entropy as a measure of system complexity, PNAS 88 (1991): natural
    logarithm, each stretch matches itself; equal to 1e-9
    scipy.signal.hilbert over three frames; equal to 1e-9
    """
    check_range("sample_rate", sample_rate, low=1)
    check_range("hop_length", hop_length, low=1)
    check_range("frame_length", frame_length, low=2)
    check_range("m", m, low=1, high=frame_length - 1)
    check("r", r, 0 < r < math.inf, "over 0")
    check_plain(waveform, name="apen")
    check_waveform(waveform)
    samples = waveform.shape[-1]
    frames = frame_count(samples, hop_length=hop_length)
    flat = waveform.reshape(-1, samples).cpu().double()
    padded = centre_pad(flat, frame_length=3 * frame_length, pad_mode="constant")
    values = np.empty((len(flat), frames))
    for signal, row in zip(padded.unfold(-1, 3 * frame_length, hop_length), values, strict=True):
        for first in range(0, frames, _BLOCK):
            block = slice(first, first + _BLOCK)
            row[block] = compiled(_entropies)(_envelopes(signal[block]).numpy(), m, r, _CONSTANT)
    return torch.from_numpy(values).to(waveform).reshape(*waveform.shape[:-1], 1, frames)


def describe(**_: object) -> Description:
    """One dimension, in nats. Takes the settings of `apen`."""
    return Description("approximate entropy (nats)", "", np.zeros(1))


def _envelopes(signals: Tensor) -> Tensor:
    """Magnitude of the analytic signal in the middle third of signals [frames, samples]."""
    length = signals.shape[-1]
    # The Hilbert transform. The inverse ignores the imaginary parts at 0 Hz and half the rate.
    shifted = torch.fft.irfft(-1j * torch.fft.rfft(signals), n=length)
    middle = slice(length // 3, 2 * length // 3)
    return torch.hypot(signals[:, middle], shifted[:, middle])


def _entropies(frames: np.ndarray, m: int, r: float, constant: float) -> np.ndarray:
    """Approximate entropy of each frame.

    The loops compare all pairs at one lag before those at the next, so one instruction compares
    several pairs. That is faster than a loop that stops at the first difference.

    Parameters
    ----------
    frames : float64 [frames, samples]
    m, r
        see `apen`
    constant : float
        largest standard deviation of a constant frame, as a fraction of its largest magnitude

    Returns
    -------
    float64 [frames]
    """
    length = frames.shape[1]
    places = length - m + 1
    entropies = np.zeros(len(frames))
    close, match = np.empty((2, length), np.uint8)
    for f in range(len(frames)):
        frame = frames[f].copy()
        std = frame.std()
        if std <= constant * np.abs(frame).max():
            continue
        tolerance = r * std
        # Matches of each stretch of m and of m + 1 samples: with itself and later ones, and with
        # earlier ones.
        later, later_long = np.ones(places, np.int32), np.ones(places - 1, np.int32)
        earlier, earlier_long = np.zeros(places, np.int32), np.zeros(places - 1, np.int32)
        for lag in range(1, places):
            pairs = places - lag
            shifted = frame[lag:]
            for i in range(length - lag):
                close[i] = abs(frame[i] - shifted[i]) <= tolerance
            for i in range(pairs):
                match[i] = close[i]
            for k in range(1, m):
                following = close[k:]
                for i in range(pairs):
                    match[i] &= following[i]
            counts = earlier[lag:]
            for i in range(pairs):
                later[i] += match[i]
                counts[i] += match[i]
            following, counts = close[m:], earlier_long[lag:]
            for i in range(pairs - 1):
                match_long = match[i] & following[i]
                later_long[i] += match_long
                counts[i] += match_long
        phi = np.log((later + earlier) / places).mean()
        entropies[f] = phi - np.log((later_long + earlier_long) / (places - 1)).mean()
    return entropies
