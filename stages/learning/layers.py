"""Layers that the networks share. All take lengths, so that padding never changes a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

Normalisation = Literal["fold", "clip", "clip_limited", "fold_clip_mean"]
_LIMIT = 5.0  # deviations, of clip_limited


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
        clip_limited: the same, and no value further than five deviations from the mean.
        fold_clip_mean: deviation of the training fold, each clip's own mean
    """

    def __init__(self, inputs: Mapping[str, int], *, normalisation: Normalisation) -> None:
        super().__init__()
        if normalisation not in (known := get_args(Normalisation)):
            raise ValueError(
                f"normalisation: got {normalisation!r}, want one of {', '.join(known)}"
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
            by_clip = self.normalisation.startswith("clip")
            if not by_clip:
                values = values - self.get_buffer(f"{name}_mean")
                values = values / self.get_buffer(f"{name}_deviation")
            if self.normalisation != "fold":
                number = lengths[:, None, None].to(values.dtype)
                mean = (values * valid).sum(dim=1, keepdim=True) / number
                values = values - mean
                if by_clip:
                    square = (values.square() * valid).sum(dim=1, keepdim=True) / number
                    values = values / (square + 1e-6).sqrt()
            if self.normalisation == "clip_limited":
                values = values.clamp(-_LIMIT, _LIMIT)
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


def packed(recurrent: nn.RNNBase, values: Tensor, lengths: Tensor) -> Tensor:
    """Run a batch-first recurrent layer over each clip's own frames only.

    Parameters
    ----------
    recurrent : nn.RNNBase
        whose backward direction, if it has one, begins at each clip's last frame
    values : Tensor [batch, frames, size]
    lengths : Tensor [batch]

    Returns
    -------
    Tensor [batch, frames, hidden of all directions]
        zeros where there is padding
    """
    if torch.jit.is_tracing():  # waveforms of one length: no padding, and the exporter knows this
        return recurrent(values)[0]
    sequence = nn.utils.rnn.pack_padded_sequence(
        values, lengths.cpu(), batch_first=True, enforce_sorted=False
    )
    states, _ = recurrent(sequence)
    return nn.utils.rnn.pad_packed_sequence(states, batch_first=True, total_length=values.shape[1])[
        0
    ]


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
        return packed(self.gru, values, lengths)


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


def windowed(
    network: nn.Module, features: dict[str, Tensor], lengths: Tensor, *, frames: int | None
) -> Tensor:
    """What a network answers for clips, or on average for several windows of each.

    Parameters
    ----------
    network : features, lengths -> logits
    features : float [batch, frames, dimensions] by feature
    lengths : int64 [batch]
    frames : int or None
        of a window. A clip that is longer has as many as cover it, at equal distances from its
        beginning to its end; any other has one. None: clips are whole

    Returns
    -------
    Tensor [batch, classes]
        logits of whole clips; else the logarithm of the windows' mean probabilities, of which the
        softmax is these means
    """
    if frames is None:
        return network(features, lengths)
    longest = next(iter(features.values())).shape[1]
    number = torch.div(lengths + frames - 1, frames, rounding_mode="floor")[:, None]
    window = torch.arange((longest + frames - 1) // frames, device=lengths.device)
    last = (lengths - frames).clamp_min(0)[:, None]
    start = (window * (last / (number - 1).clamp_min(1))).round().long()  # [batch, windows]
    steps = torch.arange(frames, device=lengths.device)[:longest]
    rows = torch.minimum(start, last)[..., None] + steps  # [batch, windows, frames]
    cut = {
        name: values.gather(1, rows.flatten(1)[..., None].expand(-1, -1, values.shape[2])).reshape(
            -1, steps.shape[0], values.shape[2]
        )
        for name, values in features.items()
    }
    own = lengths.clamp_max(frames)[:, None].expand(-1, window.shape[0]).flatten()
    answers = network(cut, own).log_softmax(dim=1)  # [batch * windows, classes]
    answers = answers.reshape(lengths.shape[0], -1, answers.shape[1])
    beyond = window >= number  # of the batch's longest clip only
    answers = answers.masked_fill(beyond[..., None], float("-inf"))
    return answers.logsumexp(dim=1) - number.to(answers.dtype).log()


def window_frames(train: Mapping[str, float | None]) -> int | None:
    """Frames of a window by the settings `window_s`, `sample_rate` and `hop_length`, or None.

    Without `window_s`, as models were trained before there was one, there are no windows.
    """
    if train.get("window_s") is None:
        return None
    return max(1, round(train["window_s"] * train["sample_rate"] / train["hop_length"]))


def last_frame(values: Tensor, lengths: Tensor) -> Tensor:
    """The last frame that is not padding: [batch, frames, size] -> [batch, size]."""
    index = (lengths - 1)[:, None, None].expand(-1, 1, values.shape[2])
    return values.gather(1, index)[:, 0]


class RecurrentStack(nn.Module):
    """Features side by side through two recurrent layers; each clip's last state is classified.

    A network names its layers in `kinds`.

    Parameters
    ----------
    inputs : dimensions by feature
    n_classes : int
    normalisation : fold, clip, clip_limited or fold_clip_mean
        see InputLayer
    pooling : int
        frames that are averaged before the first layer
    hidden : two ints
        units of the first and the second recurrent layer
    dense : two ints
        units of the dense layers
    dropout : float
        after each recurrent layer and each dense layer
    """

    kinds: ClassVar[tuple[type[nn.RNNBase], type[nn.RNNBase]]]

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
        first, second = self.kinds
        self.input = InputLayer(inputs, normalisation=normalisation)
        self.pooling = TimePooling(pooling)
        self.first = first(sum(inputs.values()), hidden[0], batch_first=True)
        self.second = second(hidden[0], hidden[1], batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Sequential(
            # Over clips, after the last frame: padding has no part in it.
            nn.BatchNorm1d(hidden[1]),
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


class ConvolutionBlock(nn.Module):
    """Convolution, batch norm, maximum, activation, dropout; zero beyond a clip's end.

    Parameters
    ----------
    before, after : int
        channels
    kernel, pooling : two ints each
        bands and frames; kernels are odd, and of what is pooled a last part is pooled by itself
    activation : nn.Module
        0 for 0, as all of torch's linear units are
    dropout : float
    """

    def __init__(
        self,
        before: int,
        after: int,
        *,
        kernel: tuple[int, int],
        pooling: tuple[int, int],
        activation: nn.Module,
        dropout: float,
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            before, after, kernel, padding=(kernel[0] // 2, kernel[1] // 2), bias=False
        )
        self.norm = nn.BatchNorm2d(after)
        self.pooling = tuple(pooling)
        self.activation = activation
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Pool [batch, before, bands, frames] to [batch, after, ceil(.), ceil(.)]; new lengths.

        Padding must be zero, and is so again.
        """
        values = self.norm(self.convolution(values))
        factor = self.pooling[1]
        if factor > 1:  # no frame of padding is the maximum
            values = values.masked_fill(_padding(values, lengths), float("-inf"))
            lengths = torch.div(lengths + factor - 1, factor, rounding_mode="floor")
        values = nn.functional.max_pool2d(values, self.pooling, ceil_mode=True)
        # Zeros before the activation, as not every one takes what is not finite.
        values = values.masked_fill(_padding(values, lengths), 0.0)
        return self.dropout(self.activation(values)), lengths


def _padding(values: Tensor, lengths: Tensor) -> Tensor:
    """Which frames of [batch, channels, bands, frames] are padding: bool [batch, 1, 1, frames]."""
    return ~valid_frames(lengths, values.shape[3])[:, None, None]


def pooled_size(size: int, *, factors: Sequence[int]) -> int:
    """What is left of so many bands after pooling by each factor in turn, rounded up each time."""
    for factor in factors:
        size = -(-size // factor)
    return size
