"""Layers that the networks share. All take lengths, so that padding never changes a result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

Normalisation = Literal["fold", "clip", "fold_clip_mean"]


def valid_frames(lengths: Tensor, frames: int) -> Tensor:
    """Which frames are not padding: bool [batch, frames]."""
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


class InputLayer(nn.Module):
    """Normalise every feature; the statistics are buffers and travel with the weights.

    Parameters
    ----------
    inputs : dimensions by feature
    normalisation : str
        fold: mean and deviation of the training fold.
        clip: each clip's own mean and deviation.
        fold_clip_mean: deviation of the training fold, each clip's own mean
    """

    def __init__(self, inputs: Mapping[str, int], *, normalisation: Normalisation) -> None:
        super().__init__()
        if normalisation not in ("fold", "clip", "fold_clip_mean"):
            raise ValueError(
                f"normalisation: got {normalisation!r}, want fold, clip or fold_clip_mean"
            )
        self.names = tuple(inputs)
        self.normalisation = normalisation
        for name, dimensions in inputs.items():
            self.register_buffer(f"{name}_mean", torch.zeros(dimensions))
            self.register_buffer(f"{name}_deviation", torch.ones(dimensions))

    def fit(self, statistics: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Set the training fold's mean and deviation, [dimensions] each, by feature."""
        for name, (mean, deviation) in statistics.items():
            self.get_buffer(f"{name}_mean").copy_(mean)
            self.get_buffer(f"{name}_deviation").copy_(deviation.clamp_min(1e-3))

    @property
    def deviation(self) -> dict[str, Tensor]:
        """The training fold's deviation, [dimensions], by feature."""
        return {name: self.get_buffer(f"{name}_deviation") for name in self.names}

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> dict[str, Tensor]:
        result = {}
        for name in self.names:
            values = features[name]  # [batch, frames, dimensions]
            valid = valid_frames(lengths, values.shape[1])[..., None].to(values.dtype)
            if self.normalisation != "clip":
                values = values - self.get_buffer(f"{name}_mean")
                values = values / self.get_buffer(f"{name}_deviation")
            if self.normalisation != "fold":
                number = lengths[:, None, None].to(values.dtype)
                mean = (values * valid).sum(dim=1, keepdim=True) / number
                values = values - mean
                if self.normalisation == "clip":
                    square = (values.square() * valid).sum(dim=1, keepdim=True) / number
                    values = values / (square + 1e-6).sqrt()
            result[name] = values * valid
        return result


class TimePooling(nn.Module):
    """Mean of each `factor` frames, so that ceil(frames / factor) are left."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Padding must be zero; a last group that is part padding is the mean of its frames."""
        if self.factor == 1:
            return values, lengths
        valid = valid_frames(lengths, values.shape[1]).to(values.dtype)[:, None]
        pool = nn.functional.avg_pool1d
        sums = pool(values.transpose(1, 2), self.factor, ceil_mode=True)
        share = pool(valid, self.factor, ceil_mode=True)
        pooled = (sums / share.clamp_min(1e-6)).transpose(1, 2)
        return pooled, torch.div(lengths + self.factor - 1, self.factor, rounding_mode="floor")


class BidirectionalGRU(nn.Module):
    """GRU in both directions; the backward one begins at each clip's last frame, not in padding."""

    def __init__(self, size: int, *, hidden: int, n_layers: int, dropout: float) -> None:
        super().__init__()
        self.gru = nn.GRU(
            size,
            hidden,
            num_layers=n_layers,
            batch_first=True,
            bidirectional=True,
            dropout=dropout if n_layers > 1 else 0.0,
        )

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """[batch, frames, size] -> [batch, frames, 2 * hidden]; zeros where there is padding."""
        packed = nn.utils.rnn.pack_padded_sequence(
            values, lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = self.gru(packed)
        return nn.utils.rnn.pad_packed_sequence(
            states, batch_first=True, total_length=values.shape[1]
        )[0]


class AttentiveStatistics(nn.Module):
    """Mean and deviation over time, weighted by a learned attention.

    References
    ----------
    Okabe, Koshinaka, Shinoda: Attentive statistics pooling for deep speaker embedding,
    Interspeech 2018
    """

    def __init__(self, size: int, *, hidden: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(size, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """[batch, frames, size] -> [batch, 2 * size]."""
        weight = self.weights(values, lengths)[..., None]  # [batch, frames, 1]
        mean = (weight * values).sum(dim=1)
        variance = (weight * (values - mean[:, None]).square()).sum(dim=1)
        return torch.cat([mean, (variance + 1e-5).sqrt()], dim=1)

    def weights(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Attention: [batch, frames, size] -> [batch, frames], with the sum 1; 0 for padding."""
        padding = ~valid_frames(lengths, values.shape[1])
        return self.score(values)[..., 0].masked_fill(padding, float("-inf")).softmax(dim=1)


def last_frame(values: Tensor, lengths: Tensor) -> Tensor:
    """The last frame that is not padding: [batch, frames, size] -> [batch, size]."""
    index = (lengths - 1)[:, None, None].expand(-1, 1, values.shape[2])
    return values.gather(1, index)[:, 0]
