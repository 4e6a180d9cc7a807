"""Zero-crossing rate."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from stages.acoustics import Description
from stages.audio.frames import frame_count
from stages.running.checks import check_range
from stages.signals.kernels import compiled, is_plain
from stages.signals.spectra import centre_pad, check_frames, frame_mean

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
    check_range("sample_rate", sample_rate, low=1)
    check_range("frame_length", frame_length, low=2)
    check_range("hop_length", hop_length, low=1)
    if is_plain(waveform):
        check_frames(waveform, frame_length=frame_length)
        frames = frame_count(waveform.shape[-1], hop_length=hop_length)
        share = waveform.new_empty(*waveform.shape[:-1], 1, frames)
        samples = waveform.reshape(-1, waveform.shape[-1]).numpy()
        compiled(_share)(samples, frame_length, hop_length, _ZERO, share.view(-1, frames).numpy())
        return share
    padded = centre_pad(waveform, frame_length=frame_length, pad_mode="replicate")
    negative = padded < -_ZERO
    changes = (negative[..., 1:] != negative[..., :-1]).to(waveform.dtype)
    pairs = frame_length - 1  # within a frame; the reference divides them by its samples
    share = frame_mean(changes, frame_length=pairs, hop_length=hop_length)
    return share * (pairs / frame_length)


def describe(**_: object) -> Description:
    """A share, of a single dimension. Settings as of `zcr`."""
    return Description("share (0 to 1)", "", np.zeros(1))


def _share(
    waveforms: np.ndarray, frame_length: int, hop_length: int, zero: float, share: np.ndarray
) -> None:
    """Fill [waveforms, frames] with the share of each centred frame's pairs that change sign.

    A repeated sample never does: pairs beyond the ends are left out.
    """
    for waveform in range(len(share)):
        negative = waveforms[waveform] < -zero
        for frame in range(share.shape[1]):
            start = frame * hop_length - frame_length // 2
            own = negative[max(0, start) : start + frame_length]
            before, after, changes = own[:-1], own[1:], 0
            for k in range(len(before)):
                changes += before[k] != after[k]
            share[waveform, frame] = changes / frame_length
