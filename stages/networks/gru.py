"""`gru`: two GRU layers, the last state, two dense layers; the small system of many notebooks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from stages.learning.layers import InputLayer, Normalisation, TimePooling, last_frame


class GRU(nn.Module):
    """Features side by side through two GRU layers; the state at each clip's last frame counts.

    Parameters
    ----------
    inputs : dimensions by feature
    n_classes : int
    normalisation : fold, clip or fold_clip_mean
        see InputLayer
    pooling : int
        frames that are averaged before the GRU
    hidden : two ints
        units of the first and the second GRU layer
    dense : two ints
        units of the dense layers
    dropout : float
        after each GRU layer and each dense layer
    """

    def __init__(
        self,
        inputs: Mapping[str, int],
        n_classes: int,
        *,
        normalisation: Normalisation,
        pooling: int,
        hidden: tuple[int, int],
        dense: tuple[int, int],
        dropout: float,
    ) -> None:
        super().__init__()
        self.input = InputLayer(inputs, normalisation=normalisation)
        self.pooling = TimePooling(pooling)
        self.first = nn.GRU(sum(inputs.values()), hidden[0], batch_first=True)
        self.second = nn.GRU(hidden[0], hidden[1], batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Sequential(
            nn.BatchNorm1d(
                hidden[1]
            ),  # over clips, after the last frame: padding has no part in it
            nn.Linear(hidden[1], dense[0]),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(dense[0], dense[1]),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(dense[1], n_classes),
        )

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        values = torch.cat(list(self.input(features, lengths).values()), dim=2)
        values, lengths = self.pooling(values, lengths)  # [batch, frames / pooling, dimensions]
        values = self.dropout(self.first(values)[0])  # [batch, frames / pooling, hidden]
        values = self.dropout(last_frame(self.second(values)[0], lengths))  # [batch, hidden]
        return self.classifier(values)  # [batch, classes]
