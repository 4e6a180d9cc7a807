"""Zero-crossing rate."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from stages.acoustics import Description
from stages.clips.spectra import centre_pad, check_setting, frame_mean

_ZERO = 1e-10  # librosa's default: what lies nearer to zero counts as zero, and zero as positive


def zcr(waveform: Tensor, *, sample_rate: int, hop_length: int, frame_length: int) -> Tensor:
    """Share of neighbouring samples that change sign, per frame.

    High in fricatives and breath, low in voiced sounds.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]
    sample_rate : int
        in Hz; every feature is given it, this one does not need it: the share is of samples
    hop_length, frame_length : int
        in samples; frames are centred, the signal's first and last sample are repeated beyond it

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
    librosa.feature.zero_crossing_rate, equal to 1e-6
    """
    check_setting("sample_rate", sample_rate, low=1)
    check_setting("frame_length", frame_length, low=2)
    check_setting("hop_length", hop_length, low=1)
    padded = centre_pad(waveform, frame_length=frame_length, pad_mode="replicate")
    negative = padded < -_ZERO
    changes = (negative[..., 1:] != negative[..., :-1]).to(waveform.dtype)
    pairs = frame_length - 1  # within a frame; the reference divides them by its samples
    share = frame_mean(changes, frame_length=pairs, hop_length=hop_length)
    return share * (pairs / frame_length)


def describe(**_: object) -> Description:
    """A share, of a single dimension. Settings as of `zcr`."""
    return Description("share (0 to 1)", "", np.zeros(1))
