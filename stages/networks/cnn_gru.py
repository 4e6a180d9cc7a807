"""`cnn_gru`: one convolution branch per feature, fused, a GRU over time, attentive pooling."""

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
    """Convolutions over one feature, which shorten time by 4 and the feature's axis to one vector.

    Features of few dimensions, such as loudness, have no axis to convolve over: their dimensions
    are channels of a convolution over time.

    Parameters
    ----------
    dimensions : int
        of the feature
    channels : four ints
        of the convolutions, 3 x 3 each
    size : int
        dimensions of the result
    bands : int
        a feature with more dimensions than this is halved by the first convolution already
    """

    _FEWEST = 16  # dimensions: four halvings

    def __init__(self, dimensions: int, *, channels: Sequence[int], size: int, bands: int) -> None:
        super().__init__()
        self.flat = dimensions < self._FEWEST
        height = 1 if self.flat else dimensions
        before = dimensions if self.flat else 1
        blocks = []
        for number, after in enumerate(channels):
            stride = (2 if number == 0 and height > bands else 1, 2 if number < 2 else 1)
            blocks.append(_Block(before, after, stride=stride))
            height = -(-height // stride[0])  # of the convolution, then of the maximum
            height, before = -(-height // 2), after
        self.blocks = nn.ModuleList(blocks)
        self.project = nn.Linear(before * height, size)

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """[batch, frames, dimensions] -> [batch, ceil(frames / 4), size], and the new lengths."""
        values = values.transpose(1, 2)  # [batch, dimensions, frames]
        values = values[:, :, None] if self.flat else values[:, None]
        for block in self.blocks:
            values, lengths = block(values, lengths)  # [batch, channels, height, frames]
        values = values.flatten(1, 2).transpose(1, 2)
        return self.project(values), lengths


class _Block(nn.Module):
    """Convolution, maximum of neighbouring bands, batch norm, GELU; zero beyond a clip's end.

    Time is shortened by the convolution's stride, whose result at a clip's end depends on zeros
    only, and bands by slices: torch's own maximum pooling takes longer than the convolution.
    """

    def __init__(self, before: int, after: int, *, stride: tuple[int, int]) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(after)
        self.stride = stride[1]

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        values = self.convolution(values)
        if values.shape[2] > 1:
            even, odd = values[:, :, 0::2], values[:, :, 1::2]
            if even.shape[2] > odd.shape[2]:  # a last band without a neighbour
                odd = torch.cat([odd, even[:, :, -1:]], dim=2)
            # The maximum of both; the gradient of torch.maximum takes three times as long.
            values = nn.functional.relu(even - odd) + odd
        values = nn.functional.gelu(self.norm(values))
        lengths = torch.div(lengths + self.stride - 1, self.stride, rounding_mode="floor")
        valid = valid_frames(lengths, values.shape[3])[:, None, None]
        return values * valid.to(values.dtype), lengths


class CNNGRU(nn.Module):
    """The features' branches side by side, through a bidirectional GRU and attentive statistics.

    Parameters
    ----------
    inputs : dimensions by feature
        any set of features
    n_classes : int
    normalisation : fold, clip, clip_limited or fold_clip_mean
        see InputLayer
    channels : four ints
        of each branch's convolutions
    bands : int
        see Branch
    branch : int
        dimensions that each branch gives to the fusion
    hidden : int
        of the GRU, per direction
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
        values = self.input(features, lengths)
        fused = [branch(values[name], lengths) for name, branch in self.branches.items()]
        lengths = fused[0][1]
        values = self.dropout(torch.cat([vectors for vectors, _ in fused], dim=2))
        values = self.gru(values, lengths)  # [batch, frames / 4, 2 hidden]
        return self.classifier(self.statistics(values, lengths))  # [batch, classes]
