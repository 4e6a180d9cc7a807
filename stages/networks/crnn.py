"""`crnn`: four 2-D convolutions, a bidirectional GRU over time, attentive statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

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
from stages.settings.checks import check


class CRNN(nn.Module):
    """All features as bands of one image, pooled in both directions, then a GRU.

    Parameters
    ----------
    inputs : dimensions by feature
        for a feature of many bands, such as a spectrogram
    n_classes : int
    normalisation : str
        see InputLayer
    channels : ints
        of the convolutions, 3 x 3 each
    pooling : two ints for each convolution
        bands and frames to pool
    hidden : int
        units of the GRU per direction
    attention : int
        hidden units of the attention
    dropout : float
        before the GRU and before the classifier

    Raises
    ------
    ValueError
        if the number of poolings differs from that of the convolutions
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
        fine = len(pooling) == len(channels)
        check("model.network.pooling", pooling, fine, f"a pair for each of channels: {channels}")
        self.input = InputLayer(inputs, normalisation=normalisation)
        self.blocks = nn.ModuleList(
            ConvolutionBlock(
                *sizes, kernel=(3, 3), pooling=factors, activation=nn.GELU(), dropout=0.0
            )
            for sizes, factors in zip(pairwise([1, *channels]), pooling, strict=True)
        )
        bands = pooled_size(sum(inputs.values()), factors=[factors[0] for factors in pooling])
        self.dropout = nn.Dropout(dropout)
        self.gru = BidirectionalGRU(channels[-1] * bands, hidden=hidden, n_layers=1, dropout=0.0)
        self.statistics = AttentiveStatistics(2 * hidden, hidden=attention)
        self.classifier = nn.Linear(4 * hidden, n_classes)

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Return logits [batch, classes] of features [batch, frames, dimensions]."""
        values = torch.cat(list(self.input(features, lengths).values()), dim=2)
        values = values.transpose(1, 2)[:, None]  # [batch, 1, dimensions, frames]
        for block in self.blocks:
            values, lengths = block(values, lengths)  # [batch, channels, bands, frames]
        values = self.dropout(values.flatten(1, 2).transpose(1, 2))
        values = self.gru(values, lengths)  # [batch, frames, 2 hidden]
        return self.classifier(self.dropout(self.statistics(values, lengths)))  # [batch, classes]
