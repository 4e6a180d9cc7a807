"""ComParE: 65 low-level descriptors of the paralinguistics challenges, computed by openSMILE."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from stages.acoustics import Description
from stages.signals.smile import NEEDS as NEEDS
from stages.signals.smile import low_level_descriptors

#: openSMILE's names of the dimensions, in their order.
DESCRIPTORS = (
    "F0final_sma",
    "voicingFinalUnclipped_sma",
    "jitterLocal_sma",
    "jitterDDP_sma",
    "shimmerLocal_sma",
    "logHNR_sma",
    "audspec_lengthL1norm_sma",
    "audspecRasta_lengthL1norm_sma",
    "pcm_RMSenergy_sma",
    "pcm_zcr_sma",
    *(f"audSpec_Rfilt_sma[{band}]" for band in range(26)),
    "pcm_fftMag_fband250-650_sma",
    "pcm_fftMag_fband1000-4000_sma",
    "pcm_fftMag_spectralRollOff25.0_sma",
    "pcm_fftMag_spectralRollOff50.0_sma",
    "pcm_fftMag_spectralRollOff75.0_sma",
    "pcm_fftMag_spectralRollOff90.0_sma",
    "pcm_fftMag_spectralFlux_sma",
    "pcm_fftMag_spectralCentroid_sma",
    "pcm_fftMag_spectralEntropy_sma",
    "pcm_fftMag_spectralVariance_sma",
    "pcm_fftMag_spectralSkewness_sma",
    "pcm_fftMag_spectralKurtosis_sma",
    "pcm_fftMag_spectralSlope_sma",
    "pcm_fftMag_psySharpness_sma",
    "pcm_fftMag_spectralHarmonicity_sma",
    *(f"mfcc_sma[{coefficient}]" for coefficient in range(1, 15)),
)


def compare(waveform: Tensor, *, sample_rate: int, hop_length: int) -> Tensor:
    """Low-level descriptors of the Computational Paralinguistics Challenge of 2016.

    They describe pitch, voice quality, loudness, an auditory spectrum, the spectrum's shape and its
    cepstrum. openSMILE computes them every 10 ms from windows of 20 ms (60 ms for pitch, voice
    quality and zero crossings) and smooths them over three windows; each frame takes the nearest.
    The deltas of the set are not among them: functionals of deltas are computed from the frames.
    Clips are processed one by one, on a CPU and in one thread.

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
    Tensor [..., 65, frames]
        DESCRIPTORS in openSMILE's units; 0 where a descriptor is not defined, as pitch in an
        unvoiced frame; frames = 1 + samples // hop_length

    Raises
    ------
    ImportError
        if opensmile is not installed, with the command that installs it
    ValueError
        for a setting outside its range; if the waveform is empty or holds NaN or infinity

    References
    ----------
    F. Weninger et al., "On the acoustics of emotion in audio: what speech, music, and sound have in
    common", Frontiers in Psychology 4 (2013); equal to opensmile.FeatureSet.ComParE_2016,
    LowLevelDescriptors, at the nearest frame
    """
    return low_level_descriptors(
        waveform,
        feature="compare",
        feature_set="ComParE_2016",
        descriptors=DESCRIPTORS,
        sample_rate=sample_rate,
        hop_length=hop_length,
    )


def describe(**_: object) -> Description:
    """DESCRIPTORS by number, each in its own unit. Takes the settings of `compare`."""
    return Description("value (own unit)", "ComParE descriptor", np.arange(len(DESCRIPTORS)))
