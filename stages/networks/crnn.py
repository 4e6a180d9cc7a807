"""`crnn`: four 2-D convolutions, a bidirectional GRU over time, attentive statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from stages.learning.layers import (
    AttentiveStatistics,
    BidirectionalGRU,
    ConvolutionBlock,
    InputLayer,
    Normalisation,
    pooled_size,
)


class CRNN(nn.Module):
    """Features side by side as the bands of one picture, pooled in both directions, then a GRU.

    Parameters
    ----------
    inputs : dimensions by feature
        a feature of many bands, such as a spectrogram
    n_classes : int
    normalisation : fold, clip, clip_limited or fold_clip_mean
        see InputLayer
    channels : ints
        of the convolutions, 3 x 3 each
    pooling : two ints for each convolution
        bands and frames that become one
    hidden : int
        of the GRU, per direction
    attention : int
        hidden units of the attention
    dropout : float
        before the GRU and before the classifier

    Raises
    ------
    ValueError
        unless there is one pooling for each convolution
    """

    def __init__(
        self,
        inputs: Mapping[str, int],
        n_classes: int,
        *,
        normalisation: Normalisation,
        channels: Sequence[int],
        pooling: Sequence[tuple[int, int]],
        hidden: int,
        attention: int,
        dropout: float,
    ) -> None:
        super().__init__()
        if len(pooling) != len(channels):
            raise ValueError(
                f"pooling: got {len(pooling)} pairs, want one for each of {len(channels)} channels"
            )
        self.input = InputLayer(inputs, normalisation=normalisation)
        self.blocks = nn.ModuleList(
            ConvolutionBlock(
                before, after, kernel=(3, 3), pooling=pool, activation=nn.GELU(), dropout=0.0
            )
            for before, after, pool in zip([1, *channels], channels, pooling, strict=False)
        )
        bands = pooled_size(sum(inputs.values()), factors=[pool[0] for pool in pooling])
        self.dropout = nn.Dropout(dropout)
        self.gru = BidirectionalGRU(channels[-1] * bands, hidden=hidden, n_layers=1, dropout=0.0)
        self.statistics = AttentiveStatistics(2 * hidden, hidden=attention)
        self.classifier = nn.Linear(4 * hidden, n_classes)

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        values = torch.cat(list(self.input(features, lengths).values()), dim=2)
        values = values.transpose(1, 2)[:, None]  # [batch, 1, dimensions, frames]
        for block in self.blocks:
            values, lengths = block(values, lengths)  # [batch, channels, bands, frames]
        values = self.dropout(values.flatten(1, 2).transpose(1, 2))
        values = self.gru(values, lengths)  # [batch, frames, 2 hidden]
        return self.classifier(self.dropout(self.statistics(values, lengths)))  # [batch, classes]
