"""`reslstm`: residual bidirectional LSTM layers, attentive statistics; about 50 k parameters."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from stages.learning.layers import (
    AttentiveStatistics,
    InputLayer,
    Normalisation,
    TimePooling,
    packed,
)


class ResLSTM(nn.Module):
    """All features through residual LSTM layers, each of which adds to its input.

    Parameters
    ----------
    inputs : dimensions by feature
    n_classes : int
    normalisation : str
        see InputLayer
    pooling : int
        frames averaged before the first layer
    hidden, n_layers : int
        units of an LSTM layer per direction; LSTM layers
    attention : int
        hidden units of the attention
    dropout : float
        of each layer's output, and before the classifier
    """

    def __init__(
        self,
        inputs: Mapping[str, int],
        n_classes: int,
        *,
        normalisation: Normalisation,
        pooling: int,
        hidden: int,
        n_layers: int,
        attention: int,
        dropout: float,
    ) -> None:
        super().__init__()
        size = 2 * hidden
        self.input = InputLayer(inputs, normalisation=normalisation)
        self.pooling = TimePooling(pooling)
        self.project = nn.Linear(sum(inputs.values()), size)
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(n_layers))
        self.layers = nn.ModuleList(
            nn.LSTM(size, hidden, batch_first=True, bidirectional=True) for _ in range(n_layers)
        )
        self.dropout = nn.Dropout(dropout)
        self.statistics = AttentiveStatistics(size, hidden=attention)
        self.classifier = nn.Linear(2 * size, n_classes)

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Return logits [batch, classes] of features [batch, frames, dimensions]."""
        values = torch.cat(list(self.input(features, lengths).values()), dim=2)
        values, lengths = self.pooling(values, lengths)  # [batch, frames / pooling, dimensions]
        values = self.project(values)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            values = values + self.dropout(packed(layer, norm(values), lengths))
        # [batch, frames / pooling, 2 hidden]
        return self.classifier(self.dropout(self.statistics(values, lengths)))  # [batch, classes]
