"""wav2vec 2.0: a speech model pre-trained to identify masked stretches of speech."""

from __future__ import annotations

from torch import Tensor

from stages.signals.pretrained import layer_output

#: Requirements beyond requirements.txt.
NEEDS = "weights, which torchaudio downloads the first time: 0.4 GB for WAV2VEC2_BASE"


def wav2vec2(
    waveform: Tensor, *, sample_rate: int, hop_length: int, bundle: str, layer: int, window_s: float
) -> Tensor:
    """Output of one transformer layer of a wav2vec 2.0 model with frozen weights.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]
    sample_rate, hop_length, bundle, layer, window_s
        see `stages.signals.pretrained.layer_output`; the bundles are named WAV2VEC2_...

    Returns
    -------
    Tensor [..., dimensions, frames]
        768 dimensions for a base model, 1024 for a large one; frames = 1 + samples // hop_length

    Raises
    ------
    ValueError
        see `stages.signals.pretrained.layer_output`

    References
    ----------
    A. Baevski et al., "wav2vec 2.0: a framework for self-supervised learning of speech
    representations", NeurIPS 2020
    """
    return layer_output(
        waveform,
        family="WAV2VEC2_",
        sample_rate=sample_rate,
        hop_length=hop_length,
        bundle=bundle,
        layer=layer,
        window_s=window_s,
    )
