"""eGeMAPS: 25 low-level descriptors for emotion research, computed by openSMILE."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.acoustics import Description
from stages.audio.frames import nearest_frames
from stages.audio.store import FULL_SCALE
from stages.running.checks import check_range
from stages.signals.spectra import check_waveform

#: Requirements beyond requirements.txt.
NEEDS = "opensmile: pip install opensmile==2.6.0 (its licence allows research only)"
#: openSMILE's names of the dimensions, in their order.
DESCRIPTORS = (
    "Loudness_sma3",
    "alphaRatio_sma3",
    "hammarbergIndex_sma3",
    "slope0-500_sma3",
    "slope500-1500_sma3",
    "spectralFlux_sma3",
    "mfcc1_sma3",
    "mfcc2_sma3",
    "mfcc3_sma3",
    "mfcc4_sma3",
    "F0semitoneFrom27.5Hz_sma3nz",
    "jitterLocal_sma3nz",
    "shimmerLocaldB_sma3nz",
    "HNRdBACF_sma3nz",
    "logRelF0-H1-H2_sma3nz",
    "logRelF0-H1-A3_sma3nz",
    "F1frequency_sma3nz",
    "F1bandwidth_sma3nz",
    "F1amplitudeLogRelF0_sma3nz",
    "F2frequency_sma3nz",
    "F2bandwidth_sma3nz",
    "F2amplitudeLogRelF0_sma3nz",
    "F3frequency_sma3nz",
    "F3bandwidth_sma3nz",
    "F3amplitudeLogRelF0_sma3nz",
)
_WINDOW_S = 0.06  # the longest window, that of the pitch; shorter clips are padded with zeros
_STATED_S = 0.02  # duration of a frame according to openSMILE's table
_INT16 = 32768  # openSMILE's factor from float to integer, before it truncates


def egemaps(waveform: Tensor, *, sample_rate: int, hop_length: int) -> Tensor:
    """Low-level descriptors of the extended Geneva minimalistic acoustic parameter set, version 2.

    They describe loudness, spectral balance, pitch, voice quality and formants. openSMILE computes
    them every 10 ms from windows of 20 ms (60 ms for pitch and voice quality) and smooths them over
    three windows; each frame takes the nearest. Clips are processed one by one, on a CPU and in one
    thread.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]; rounded to 16 bits and clipped at full scale
    sample_rate : int
        in Hz, at least 8000
    hop_length : int
        in samples

    Returns
    -------
    Tensor [..., 25, frames]
        DESCRIPTORS in openSMILE's units: semitones above 27.5 Hz, Hz, dB, ratios; 0 where a
        descriptor is not defined, as pitch in an unvoiced frame; frames = 1 + samples // hop_length

    Raises
    ------
    ImportError
        if opensmile is not installed, with the command that installs it
    ValueError
        for a setting outside its range; if the waveform is empty or holds NaN or infinity

    References
    ----------
    F. Eyben et al., "The Geneva minimalistic acoustic parameter set (GeMAPS) for voice research and
    affective computing", IEEE Transactions on Affective Computing 7 (2016); equal to
    opensmile.FeatureSet.eGeMAPSv02, LowLevelDescriptors, at the nearest frame
    """
    check_range("sample_rate", sample_rate, low=8000)  # a lower rate cuts off the formants' range
    check_range("hop_length", hop_length, low=1)
    check_waveform(waveform)
    clips = waveform.detach().reshape(-1, waveform.shape[-1]).cpu().numpy()
    values = np.stack([_descriptors(clip, sample_rate, hop_length) for clip in clips])
    return torch.from_numpy(values).to(waveform).reshape(*waveform.shape[:-1], *values.shape[1:])


def describe(**_: object) -> Description:
    """DESCRIPTORS by number, each in its own unit. Takes the settings of `egemaps`."""
    return Description("value (own unit)", "eGeMAPS descriptor", np.arange(len(DESCRIPTORS)))


def _descriptors(clip: np.ndarray, sample_rate: int, hop_length: int) -> np.ndarray:
    """Descriptors [25, frames] of one clip [samples]."""
    samples = np.zeros(max(len(clip), math.ceil(_WINDOW_S * sample_rate)), dtype=np.float32)
    # The integers of the audio store. openSMILE's own scale would overflow at full scale.
    samples[: len(clip)] = np.rint(clip.clip(-1, 1) * FULL_SCALE) / _INT16
    table = _smile().process_signal(samples, sample_rate)
    starts = table.index.get_level_values("start").total_seconds().to_numpy()
    nearest = nearest_frames(
        starts + _STATED_S / 2, samples=len(clip), sample_rate=sample_rate, hop_length=hop_length
    )
    values = table[list(DESCRIPTORS)].to_numpy(dtype=np.float32)[nearest]
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).T


@lru_cache
def _smile() -> Any:
    """The openSMILE extractor, built once per process."""
    try:
        import opensmile  # optional
    except ImportError as error:
        raise ImportError(f"features.egemaps: got no library opensmile, want {NEEDS}") from error
    return opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02,
        feature_level=opensmile.FeatureLevel.LowLevelDescriptors,
    )
