"""`cnn_gru`: a convolutional branch per feature, fusion, a GRU over time, attentive statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from stages.learning.layers import (
    AttentiveStatistics,
    BidirectionalGRU,
    InputLayer,
    Normalisation,
    valid_frames,
)


class Branch(nn.Module):
    """Convolutions over one feature, which shorten time by 4 and make one vector of its dimensions.

    A feature of few dimensions, such as loudness, has no axis to convolve over: its dimensions are
    channels of a convolution over time.

    Parameters
    ----------
    dimensions : int
        of the feature
    channels : four ints
        of the convolutions, 3 x 3 each
    size : int
        dimensions of the result
    bands : int
        dimensions that the first convolution leaves at most; it takes strides of at most 4
    """

    _FEWEST = 16  # dimensions, for four halvings
    _LONGEST = 4  # stride of the first convolution over bands

    def __init__(self, dimensions: int, *, channels: Sequence[int], size: int, bands: int) -> None:
        super().__init__()
        self.flat = dimensions < self._FEWEST
        height = 1 if self.flat else dimensions
        in_channels = dimensions if self.flat else 1
        blocks = []
        for number, out_channels in enumerate(channels):
            over_bands = min(-(-height // bands), self._LONGEST) if number == 0 else 1
            stride = (over_bands, 2 if number < 2 else 1)
            blocks.append(_Block(in_channels, out_channels, stride=stride))
            height = -(-height // over_bands)  # of the convolution, then of the maximum
            height, in_channels = -(-height // 2), out_channels
        self.blocks = nn.ModuleList(blocks)
        self.project = nn.Linear(in_channels * height, size)

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map [batch, frames, dimensions] to [batch, ceil(frames / 4), size] and new lengths."""
        values = values.transpose(1, 2)  # [batch, dimensions, frames]
        values = values[:, :, None] if self.flat else values[:, None]
        # Channels innermost in memory: gradients of convolutions take two thirds of the time.
        values = values.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            values, lengths = block(values, lengths)  # [batch, channels, height, frames]
        values = values.flatten(1, 2).transpose(1, 2)
        return self.project(values), lengths


class _Block(nn.Module):
    """Convolution, maximum of neighbouring bands, batch norm, ReLU; padding becomes zero.

    The stride of the convolution shortens time, so that a clip's last frames depend on zeros, not
    on padding. A long stride over bands has a long kernel, which skips no band.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: tuple[int, int]) -> None:
        super().__init__()
        kernel = (max(3, stride[0] // 2 * 2 + 1), 3)
        self.convolution = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=(kernel[0] // 2, 1),
            bias=False,
        )
        self.norm = nn.BatchNorm2d(out_channels)
        self.stride = stride[1]

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        values = self.convolution(values)
        values = nn.functional.max_pool2d(values, (2, 1), ceil_mode=True)
        values = nn.functional.relu(self.norm(values))
        lengths = torch.div(lengths + self.stride - 1, self.stride, rounding_mode="floor")
        valid = valid_frames(lengths, values.shape[3])[:, None, None]
        return values * valid.to(values.dtype), lengths


class CNNGRU(nn.Module):
    """Fused branches of all features, through a bidirectional GRU and attentive statistics.

    Parameters
    ----------
    inputs : dimensions by feature
        any set of features
    n_classes : int
    normalisation : str
        see InputLayer
    channels : four ints
        of each branch's convolutions
    bands : int
        see Branch
    branch : int
        dimensions of each branch's result
    hidden : int
        units of the GRU per direction
    attention : int
        hidden units of the attention
    dropout : float
        after the fusion and before the classifier
    """

    def __init__(
        self,
        inputs: Mapping[str, int],
        n_classes: int,
        *,
        normalisation: Normalisation,
        channels: Sequence[int],
        bands: int,
        branch: int,
        hidden: int,
        attention: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.input = InputLayer(inputs, normalisation=normalisation)
        self.branches = nn.ModuleDict(
            {
                name: Branch(dimensions, channels=channels, size=branch, bands=bands)
                for name, dimensions in inputs.items()
            }
        )
        self.dropout = nn.Dropout(dropout)
        self.gru = BidirectionalGRU(branch * len(inputs), hidden=hidden, n_layers=1, dropout=0.0)
        self.statistics = AttentiveStatistics(2 * hidden, hidden=attention)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(4 * hidden, n_classes))

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Return logits [batch, classes] of features [batch, frames, dimensions]."""
        values = self.input(features, lengths)
        fused = [branch(values[name], lengths) for name, branch in self.branches.items()]
        lengths = fused[0][1]
        values = self.dropout(torch.cat([vectors for vectors, _ in fused], dim=2))
        values = self.gru(values, lengths)  # [batch, frames / 4, 2 hidden]
        return self.classifier(self.statistics(values, lengths))  # [batch, classes]
