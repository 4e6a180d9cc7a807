"""Loudness: the root of the mean square, in decibels."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from stages.acoustics import Description
from stages.audio.frames import frame_count
from stages.settings.checks import check_range
from stages.signals.kernels import compiled, is_plain
from stages.signals.spectra import centre_pad, check_waveform, frame_mean


def rms(
    waveform: Tensor, *, sample_rate: int, hop_length: int, frame_length: int, floor_db: float
) -> Tensor:
    """Root mean square of each frame, in decibels relative to full scale.

    The amplitude itself has a skewed distribution: a few frames take up most of its range, while
    pauses, breath and soft speech all lie close to zero. Decibels spread them out.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]
    sample_rate : int
        in Hz; every feature takes it, this one does not use it
    hop_length, frame_length : int
        in samples; frames are centred, the signal is padded with zeros
    floor_db : float
        smallest value, -120 to 0; see `stages.acoustics.logmel.logmel`

    Returns
    -------
    Tensor [..., 1, frames]
        20 log10 of the root mean square; 0 for a signal that stays at full scale;
        frames = 1 + samples // hop_length

    Raises
    ------
    ValueError
        for a setting outside its range; if the waveform is empty or holds NaN or infinity

    References
    ----------
    librosa.feature.rms, with a floor and in decibels; equal to 1e-5 dB in float64
    """
    check_range("sample_rate", sample_rate, low=1)
    check_range("frame_length", frame_length, low=1)
    check_range("hop_length", hop_length, low=1)
    check_range("floor_db", floor_db, low=-120, high=0)
    if is_plain(waveform):
        check_waveform(waveform)
        frames = frame_count(waveform.shape[-1], hop_length=hop_length)
        power = waveform.new_empty(*waveform.shape[:-1], 1, frames)
        samples = waveform.reshape(-1, waveform.shape[-1]).numpy()
        compiled(_power)(samples, frame_length, hop_length, power.view(-1, frames).numpy())
    else:
        padded = centre_pad(waveform, frame_length=frame_length, pad_mode="constant")
        power = frame_mean(padded.square(), frame_length=frame_length, hop_length=hop_length)
    return 10 * power.clamp_min(10 ** (floor_db / 10)).log10()


def describe(**_: object) -> Description:
    """One dimension, in decibels. Takes the settings of `rms`."""
    return Description("level (dB)", "", np.zeros(1))


def _power(waveforms: np.ndarray, frame_length: int, hop_length: int, power: np.ndarray) -> None:
    """Fill power [waveforms, frames] with the mean square of each centred frame."""
    for waveform in range(len(power)):
        for frame in range(power.shape[1]):
            start = frame * hop_length - frame_length // 2
            samples = waveforms[waveform, max(0, start) : start + frame_length]
            total = 0.0
            for k in range(len(samples)):
                total += samples[k] ** 2
            power[waveform, frame] = total / frame_length
