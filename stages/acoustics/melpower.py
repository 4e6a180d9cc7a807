"""What the small pre-trained speaker encoder takes: power in mel bands, without a logarithm."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from stages.acoustics import Description
from stages.settings.checks import check, check_range
from stages.signals import speaker_encoder
from stages.signals.speaker_encoder import N_MELS, mel_power
from stages.signals.spectra import mel_edges

#: The only one that the encoder knows, in Hz.
SAMPLE_RATE = speaker_encoder.SAMPLE_RATE


def melpower(waveform: Tensor, *, sample_rate: int, hop_length: int) -> Tensor:
    """Power in 40 mel bands over windows of 25 ms, as the network `ge2e` hears it.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1], best at the level that the encoder was trained at, -30 dB RMS
    sample_rate : int
        in Hz; that of the encoder, 16000
    hop_length : int
        in samples; the encoder was trained with 160

    Returns
    -------
    Tensor [..., 40, frames]
        at least 0; frames = 1 + samples // hop_length

    Raises
    ------
    ValueError
        for a setting outside its range; if the waveform is empty or holds NaN or infinity

    References
    ----------
    librosa.feature.melspectrogram (power 2, Slaney's mel scale and norm), equal to 1e-6 of the
    largest value
    """
    check(
        "sample_rate", sample_rate, sample_rate == SAMPLE_RATE, f"{SAMPLE_RATE} (audio=speech16k)"
    )
    check_range("hop_length", hop_length, low=1)
    return mel_power(waveform, hop_length=hop_length)


def describe(*, sample_rate: int, **_: object) -> Description:
    """Power by band: the frequency at its filter's peak, in Hz."""
    edges = np.array(mel_edges(N_MELS, fmin=0, fmax=sample_rate / 2))
    return Description("power (of full scale)", "frequency (Hz)", edges[1:-1])
