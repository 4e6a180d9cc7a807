"""Zero-crossing rate."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from stages.acoustics import Description
from stages.audio.frames import frame_count
from stages.settings.checks import check_range
from stages.signals.kernels import compiled, is_plain
from stages.signals.spectra import centre_pad, check_waveform, frame_mean

_ZERO = 1e-10  # librosa's default: smaller magnitudes count as zero, and zero as positive


def zcr(waveform: Tensor, *, sample_rate: int, hop_length: int, frame_length: int) -> Tensor:
    """Fraction of neighbouring samples that differ in sign, per frame.

    It is high in fricatives and breath and low in voiced sounds.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]
    sample_rate : int
        in Hz; every feature takes it, this one does not use it
    hop_length, frame_length : int
        in samples; frames are centred, the first and last sample are repeated beyond the ends

    Returns
    -------
    Tensor [..., 1, frames]
        between 0 and 1; frames = 1 + samples // hop_length

    Raises
    ------
    ValueError
        for a setting outside its range; if the waveform is empty or holds NaN or infinity

    References
    ----------
    librosa.feature.zero_crossing_rate; equal to 1e-6
    """
    check_range("sample_rate", sample_rate, low=1)
    check_range("frame_length", frame_length, low=2)
    check_range("hop_length", hop_length, low=1)
    if is_plain(waveform):
        check_waveform(waveform)
        frames = frame_count(waveform.shape[-1], hop_length=hop_length)
        rate = waveform.new_empty(*waveform.shape[:-1], 1, frames)
        samples = waveform.reshape(-1, waveform.shape[-1]).numpy()
        compiled(_rate)(samples, frame_length, hop_length, _ZERO, rate.view(-1, frames).numpy())
        return rate
    padded = centre_pad(waveform, frame_length=frame_length, pad_mode="replicate")
    negative = padded < -_ZERO
    changes = (negative[..., 1:] != negative[..., :-1]).to(waveform.dtype)
    pairs = frame_length - 1  # in a frame; librosa divides changes by samples, not by pairs
    rate = frame_mean(changes, frame_length=pairs, hop_length=hop_length)
    return rate * (pairs / frame_length)


def describe(**_: object) -> Description:
    """One dimension, a fraction. Takes the settings of `zcr`."""
    return Description("rate (0 to 1)", "", np.zeros(1))


def _rate(
    waveforms: np.ndarray, frame_length: int, hop_length: int, zero: float, rate: np.ndarray
) -> None:
    """Fill rate [waveforms, frames] with the fraction of sign changes in each centred frame.

    Pairs beyond the ends are left out: a repeated sample never changes its sign.
    """
    for waveform in range(len(rate)):
        negative = waveforms[waveform] < -zero
        for frame in range(rate.shape[1]):
            start = frame * hop_length - frame_length // 2
            signs = negative[max(0, start) : start + frame_length]
            left, right, changes = signs[:-1], signs[1:], 0
            for k in range(len(left)):
                changes += left[k] != right[k]
            rate[waveform, frame] = changes / frame_length
