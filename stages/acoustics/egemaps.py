"""eGeMAPS: 25 low-level descriptors for emotion research, computed by openSMILE."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from stages.acoustics import Description
from stages.signals.smile import NEEDS as NEEDS
from stages.signals.smile import low_level_descriptors

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
    return low_level_descriptors(
        waveform,
        feature="egemaps",
        feature_set="eGeMAPSv02",
        descriptors=DESCRIPTORS,
        sample_rate=sample_rate,
        hop_length=hop_length,
    )


def describe(**_: object) -> Description:
    """DESCRIPTORS by number, each in its own unit. Takes the settings of `egemaps`."""
    return Description("value (own unit)", "eGeMAPS descriptor", np.arange(len(DESCRIPTORS)))
