"""`bigru`: bidirectional GRU over the frames, attentive statistics, one linear layer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from stages.learning.layers import (
    AttentiveStatistics,
    BidirectionalGRU,
    InputLayer,
    Normalisation,
    TimePooling,
)


class BiGRU(nn.Module):
    """All features, averaged over a few frames, through a bidirectional GRU.

    Parameters
    ----------
    inputs : dimensions by feature
    n_classes : int
    normalisation : str
        see InputLayer
    pooling : int
        frames averaged before the GRU
    hidden, n_layers : int
        units of a GRU layer per direction; GRU layers
    attention : int
        hidden units of the attention
    dropout : float
        between GRU layers and before the classifier
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
        self.input = InputLayer(inputs, normalisation=normalisation)
        self.pooling = TimePooling(pooling)
        self.gru = BidirectionalGRU(
            sum(inputs.values()), hidden=hidden, n_layers=n_layers, dropout=dropout
        )
        self.statistics = AttentiveStatistics(2 * hidden, hidden=attention)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(4 * hidden, n_classes))

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Return logits [batch, classes] of features [batch, frames, dimensions]."""
        values = torch.cat(list(self.input(features, lengths).values()), dim=2)
        values, lengths = self.pooling(values, lengths)  # [batch, frames / pooling, dimensions]
        values = self.gru(values, lengths)  # [batch, frames / pooling, 2 hidden]
        return self.classifier(self.statistics(values, lengths))  # [batch, classes]
