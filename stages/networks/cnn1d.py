"""`cnn1d`: 1-D convolutions over time, mean and maximum over the clip, one dense layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from stages.learning.layers import ConvolutionBlock, InputLayer, Normalisation
from stages.settings.checks import check


class CNN1d(nn.Module):
    """All features as channels of convolutions over time, each of which halves the frames.

    Parameters
    ----------
    inputs : dimensions by feature
    n_classes : int
    normalisation : str
        see InputLayer
    channels : ints
        of the convolutions
    kernel : int
        frames that a convolution spans, an odd number
    block_dropout : float
        after each convolution
    dense : int
        units of the dense layer
    dropout : float
        after the dense layer

    Raises
    ------
    ValueError
        if the kernel is even
    """

    _POOLING = 2

    def __init__(
        self,
        inputs: Mapping[str, int],
        n_classes: int,
        *,
        normalisation: Normalisation,
        channels: Sequence[int],
        kernel: int,
        block_dropout: float,
        dense: int,
        dropout: float,
    ) -> None:
        super().__init__()
        check("model.network.kernel", kernel, kernel % 2 == 1, "an odd number of frames")
        self.input = InputLayer(inputs, normalisation=normalisation)
        self.blocks = nn.ModuleList(
            ConvolutionBlock(
                in_channels,
                out_channels,
                kernel=(1, kernel),
                pooling=(1, self._POOLING),
                activation=nn.ReLU(),
                dropout=block_dropout,
            )
            for in_channels, out_channels in pairwise([sum(inputs.values()), *channels])
        )
        self.classifier = nn.Sequential(
            nn.Linear(2 * channels[-1], dense),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(dense, n_classes),
        )

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Return logits [batch, classes] of features [batch, frames, dimensions]."""
        values = torch.cat(list(self.input(features, lengths).values()), dim=2)
        values = values.transpose(1, 2)[:, :, None]  # [batch, dimensions, 1, frames]
        for block in self.blocks:
            values, lengths = block(values, lengths)  # [batch, channels, 1, frames]
        values = values[:, :, 0]
        mean = values.sum(dim=2) / lengths[:, None].to(values.dtype)
        # Padding is zero and no value is lower, so padding never changes the maximum.
        return self.classifier(torch.cat([mean, values.amax(dim=2)], dim=1))  # [batch, classes]
