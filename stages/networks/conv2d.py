"""`conv2d`: four blocks of 2-D convolutions, mean over time, two dense layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from stages.learning.layers import ConvolutionBlock, InputLayer, Normalisation, pooled_size


class Conv2d(nn.Module):
    """All features as bands of one image, which each block halves in both directions.

    Parameters
    ----------
    inputs : dimensions by feature
        for a feature of many bands, such as a spectrogram
    n_classes : int
    normalisation : str
        see InputLayer
    channels : ints
        of the convolutions, 3 x 3 each
    block_dropout : float
        after each block
    dense : ints
        units of the dense layers
    dropout : float
        after each dense layer
    """

    _POOLING = 2

    def __init__(
        self,
        inputs: Mapping[str, int],
        n_classes: int,
        *,
        normalisation: Normalisation,
        channels: Sequence[int],
        block_dropout: float,
        dense: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        self.input = InputLayer(inputs, normalisation=normalisation)
        self.blocks = nn.ModuleList(
            ConvolutionBlock(
                in_channels,
                out_channels,
                kernel=(3, 3),
                pooling=(self._POOLING, self._POOLING),
                activation=nn.ReLU(),
                dropout=block_dropout,
            )
            for in_channels, out_channels in pairwise([1, *channels])
        )
        bands = pooled_size(sum(inputs.values()), factors=[self._POOLING] * len(channels))
        sizes = [channels[-1] * bands, *dense]
        layers: list[nn.Module] = []
        for in_features, out_features in pairwise(sizes):
            layers += [nn.Linear(in_features, out_features), nn.ReLU(), nn.Dropout(dropout)]
        self.classifier = nn.Sequential(*layers, nn.Linear(sizes[-1], n_classes))

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Return logits [batch, classes] of features [batch, frames, dimensions]."""
        values = torch.cat(list(self.input(features, lengths).values()), dim=2)
        values = values.transpose(1, 2)[:, None]  # [batch, 1, dimensions, frames]
        for block in self.blocks:
            values, lengths = block(values, lengths)  # [batch, channels, bands, frames]
        # The mean over the frames without padding, for clips of any length.
        values = values.sum(dim=3).flatten(1) / lengths[:, None].to(values.dtype)
        return self.classifier(values)  # [batch, classes]
