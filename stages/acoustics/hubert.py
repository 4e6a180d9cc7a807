"""HuBERT: a speech model pre-trained to predict the clusters of masked stretches."""

from __future__ import annotations

from torch import Tensor

from stages.signals.pretrained import layer_output

#: Requirements beyond requirements.txt.
NEEDS = "weights, which torchaudio downloads the first time: 0.4 GB for HUBERT_BASE"


def hubert(
    waveform: Tensor, *, sample_rate: int, hop_length: int, bundle: str, layer: int, window_s: float
) -> Tensor:
    """Output of one transformer layer of a HuBERT model with frozen weights.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]
    sample_rate, hop_length, bundle, layer, window_s
        see `stages.signals.pretrained.layer_output`; the bundles are named HUBERT_...

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
    W.-N. Hsu et al., "HuBERT: self-supervised speech representation learning by masked prediction
    of hidden units", IEEE/ACM Transactions on Audio, Speech, and Language Processing 29 (2021)
    """
    return layer_output(
        waveform,
        family="HUBERT_",
        sample_rate=sample_rate,
        hop_length=hop_length,
        bundle=bundle,
        layer=layer,
        window_s=window_s,
    )
