"""`conv2d`: four blocks of 2-D convolutions, the mean over time, two dense layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from stages.learning.layers import ConvolutionBlock, InputLayer, Normalisation, pooled_size


class Conv2d(nn.Module):
    """Features side by side as the bands of one picture, which each block halves both ways.

    Parameters
    ----------
    inputs : dimensions by feature
        a feature of many bands, such as a spectrogram
    n_classes : int
    normalisation : fold, clip, clip_limited or fold_clip_mean
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
                before,
                after,
                kernel=(3, 3),
                pooling=(self._POOLING, self._POOLING),
                activation=nn.ReLU(),
                dropout=block_dropout,
            )
            for before, after in zip([1, *channels], channels, strict=False)
        )
        bands = pooled_size(sum(inputs.values()), factors=[self._POOLING] * len(channels))
        sizes = [channels[-1] * bands, *dense]
        layers: list[nn.Module] = []
        for before, after in zip(sizes, dense, strict=False):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
        self.classifier = nn.Sequential(*layers, nn.Linear(sizes[-1], n_classes))

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        values = torch.cat(list(self.input(features, lengths).values()), dim=2)
        values = values.transpose(1, 2)[:, None]  # [batch, 1, dimensions, frames]
        for block in self.blocks:
            values, lengths = block(values, lengths)  # [batch, channels, bands, frames]
        # The mean over the clip's own frames, so that a clip may have any length.
        values = values.sum(dim=3).flatten(1) / lengths[:, None].to(values.dtype)
        return self.classifier(values)  # [batch, classes]
