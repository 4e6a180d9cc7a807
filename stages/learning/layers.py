"""Layers shared by the networks. All take lengths, so that padding never changes a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from stages.settings.checks import check

Normalisation = Literal["fold", "clip", "clip_limited", "fold_clip_mean", "fold_half_clip_mean"]
_LIMIT = 5.0  # standard deviations, of clip_limited


def valid_frames(lengths: Tensor, frames: int) -> Tensor:
    """Mark the frames that are not padding: bool [batch, frames]."""
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


class InputLayer(nn.Module):
    """Normalise every feature; the statistics are buffers and travel with the weights.

    Parameters
    ----------
    inputs : dimensions by feature
    normalisation : str
        fold: by mean and standard deviation of the training fold.
        clip: by each clip's own mean and standard deviation.
        clip_limited: as clip, with values clipped at five standard deviations.
        fold_clip_mean: by the standard deviation of the training fold and each clip's own mean.
        fold_half_clip_mean: as fold_clip_mean, but only half of the clip's mean is taken off, and
        in training a share drawn for each clip, so that a network uses how a voice usually sounds
        without relying on it

    Raises
    ------
    ValueError
        if the normalisation is none of these
    """

    def __init__(self, inputs: Mapping[str, int], *, normalisation: Normalisation) -> None:
        super().__init__()
        known = get_args(Normalisation)
        want = f"one of {', '.join(known)}"
        check("model.network.normalisation", normalisation, normalisation in known, want)
        self.names = tuple(inputs)
        self.normalisation = normalisation
        for name, dimensions in inputs.items():
            self.register_buffer(f"{name}_mean", torch.zeros(dimensions))
            self.register_buffer(f"{name}_deviation", torch.ones(dimensions))

    def fit(self, statistics: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Set the training fold's mean and standard deviation, [dimensions] each, by feature."""
        for name, (mean, std) in statistics.items():
            self.get_buffer(f"{name}_mean").copy_(mean)
            self.get_buffer(f"{name}_deviation").copy_(std.clamp_min(1e-3))

    @property
    def std(self) -> dict[str, Tensor]:
        """Standard deviation over the training fold, [dimensions], by feature."""
        return {name: self.get_buffer(f"{name}_deviation") for name in self.names}

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> dict[str, Tensor]:
        """Normalise each feature, [batch, frames, dimensions]; padding becomes 0."""
        result = {}
        share: float | Tensor = 1.0  # of the clip's mean
        if self.normalisation == "fold_half_clip_mean":
            share = torch.rand_like(lengths[:, None, None].float()) if self.training else 0.5
        for name in self.names:
            values = features[name]  # [batch, frames, dimensions]
            valid = valid_frames(lengths, values.shape[1])[..., None].to(values.dtype)
            by_clip = self.normalisation.startswith("clip")
            if not by_clip:
                values = values - self.get_buffer(f"{name}_mean")
                values = values / self.get_buffer(f"{name}_deviation")
            if self.normalisation != "fold":
                count = lengths[:, None, None].to(values.dtype)
                mean = (values * valid).sum(dim=1, keepdim=True) / count
                values = values - share * mean
                if by_clip:
                    variance = (values.square() * valid).sum(dim=1, keepdim=True) / count
                    values = values / (variance + 1e-6).sqrt()
            if self.normalisation == "clip_limited":
                values = values.clamp(-_LIMIT, _LIMIT)
            result[name] = values * valid
        return result


def input_layer(network: nn.Module) -> InputLayer:
    """Find the input layer of a network, which training fits to the training fold.

    Raises
    ------
    ValueError
        naming the class of a network that has none
    """
    layer = getattr(network, "input", None)
    if not isinstance(layer, InputLayer):
        kind = f"{type(network).__module__}.{type(network).__qualname__}"
        raise ValueError(
            f"{kind}: got {type(layer).__name__} as `input`, want an InputLayer "
            "(stages/learning/layers.py), which `forward` applies first"
        )
    return layer


class TimePooling(nn.Module):
    """Average every `factor` frames, which leaves ceil(frames / factor) of them."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Pool [batch, frames, size]; padding must be zero and is left out of the last mean."""
        if self.factor == 1:
            return values, lengths
        valid = valid_frames(lengths, values.shape[1]).to(values.dtype)[:, None]
        pool = nn.functional.avg_pool1d
        sums = pool(values.transpose(1, 2), self.factor, ceil_mode=True)
        share = pool(valid, self.factor, ceil_mode=True)
        pooled = (sums / share.clamp_min(1e-6)).transpose(1, 2)
        return pooled, torch.div(lengths + self.factor - 1, self.factor, rounding_mode="floor")


def packed(recurrent: nn.Module, values: Tensor, lengths: Tensor) -> Tensor:
    """Run a batch-first recurrent layer over the frames of each clip, without its padding.

    Parameters
    ----------
    recurrent : nn.RNNBase
        a backward direction begins at each clip's last frame
    values : Tensor [batch, frames, size]
    lengths : Tensor [batch]

    Returns
    -------
    Tensor [batch, frames, hidden of all directions]
        zeros in place of padding
    """
    if torch.jit.is_tracing():  # the exporter traces waveforms of one length, without padding
        return recurrent(values)[0]
    sequence = nn.utils.rnn.pack_padded_sequence(
        values, lengths.cpu(), batch_first=True, enforce_sorted=False
    )
    states, _ = recurrent(sequence)
    frames = values.shape[1]
    return nn.utils.rnn.pad_packed_sequence(states, batch_first=True, total_length=frames)[0]


class BidirectionalGRU(nn.Module):
    """GRU in both directions; the backward one begins at each clip's last frame."""

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
        """Map [batch, frames, size] to [batch, frames, 2 * hidden]; padding becomes zero."""
        return packed(self.gru, values, lengths)


class AttentiveStatistics(nn.Module):
    """Mean and standard deviation over time, weighted by a learned attention.

    References
    ----------
    Okabe, Koshinaka, Shinoda: Attentive statistics pooling for deep speaker embedding,
    Interspeech 2018
    """

    def __init__(self, size: int, *, hidden: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(size, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Map [batch, frames, size] to [batch, 2 * size]."""
        weight = self.weights(values, lengths)[..., None]  # [batch, frames, 1]
        mean = (weight * values).sum(dim=1)
        variance = (weight * (values - mean[:, None]).square()).sum(dim=1)
        return torch.cat([mean, (variance + 1e-5).sqrt()], dim=1)

    def weights(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Compute the attention to each frame, [batch, frames]: its sum is 1, padding has 0."""
        padding = ~valid_frames(lengths, values.shape[1])
        return self.score(values)[..., 0].masked_fill(padding, float("-inf")).softmax(dim=1)


def mean_and_std(values: Tensor, lengths: Tensor) -> Tensor:
    """Plain mean and standard deviation over time: [batch, frames, size] -> [batch, 2 size]."""
    weight = valid_frames(lengths, values.shape[1])[..., None] / lengths[:, None, None]
    mean = (weight * values).sum(dim=1)
    variance = (weight * (values - mean[:, None]).square()).sum(dim=1)
    # The small number keeps the gradient of the root finite where a unit does not move.
    return torch.cat([mean, (variance + 1e-5).sqrt()], dim=1)


def windowed(
    network: nn.Module, features: dict[str, Tensor], lengths: Tensor, *, frames: int | None
) -> Tensor:
    """Apply a network to whole clips, or average its probabilities over windows of each clip.

    Parameters
    ----------
    network : features, lengths -> logits
    features : float [batch, frames, dimensions] by feature
    lengths : int64 [batch]
    frames : int or None
        of a window. A longer clip has the least number of windows that cover it, evenly spaced
        from its beginning to its end; any other clip has one. None: no windows

    Returns
    -------
    Tensor [batch, classes]
        logits of whole clips, or the logarithm of the windows' mean probabilities, whose softmax
        equals these means
    """
    if frames is None:
        return network(features, lengths)
    longest = next(iter(features.values())).shape[1]
    count = torch.div(lengths + frames - 1, frames, rounding_mode="floor")[:, None]
    window = torch.arange((longest + frames - 1) // frames, device=lengths.device)
    last = (lengths - frames).clamp_min(0)[:, None]
    start = (window * (last / (count - 1).clamp_min(1))).round().long()  # [batch, windows]
    steps = torch.arange(frames, device=lengths.device)[:longest]
    rows = torch.minimum(start, last)[..., None] + steps  # [batch, windows, frames]
    cut = {
        name: values.gather(1, rows.flatten(1)[..., None].expand(-1, -1, values.shape[2])).reshape(
            -1, steps.shape[0], values.shape[2]
        )
        for name, values in features.items()
    }
    window_lengths = lengths.clamp_max(frames)[:, None].expand(-1, window.shape[0]).flatten()
    log_p = network(cut, window_lengths).log_softmax(dim=1)  # [batch * windows, classes]
    log_p = log_p.reshape(lengths.shape[0], -1, log_p.shape[1])
    surplus = window >= count  # windows that only longer clips of the batch have
    log_p = log_p.masked_fill(surplus[..., None], float("-inf"))
    return log_p.logsumexp(dim=1) - count.to(log_p.dtype).log()


def window_frames(train: Mapping[str, Any]) -> int | None:
    """Convert the settings `window_s`, `sample_rate` and `hop_length` to frames of a window.

    Parameters
    ----------
    train : mapping
        the section `train` of the parameters

    Returns
    -------
    int or None
        None without windows
    """
    if train.get("window_s") is None:
        return None
    return max(1, round(train["window_s"] * train["sample_rate"] / train["hop_length"]))


def last_frame(values: Tensor, lengths: Tensor) -> Tensor:
    """Select each clip's last frame: [batch, frames, size] to [batch, size]."""
    index = (lengths - 1)[:, None, None].expand(-1, 1, values.shape[2])
    return values.gather(1, index)[:, 0]


class RecurrentStack(nn.Module):
    """All features through two recurrent layers; each clip's last state is classified.

    A subclass names the layers in `kinds`.

    Parameters
    ----------
    inputs : dimensions by feature
    n_classes : int
    normalisation : str
        see InputLayer
    pooling : int
        frames averaged before the first layer
    hidden : two ints
        units of the first and the second recurrent layer
    dense : two ints
        units of the dense layers
    dropout : float
        after each recurrent layer and each dense layer
    """

    kinds: ClassVar[tuple[type[nn.GRU | nn.LSTM], type[nn.GRU | nn.LSTM]]]

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
            # Normalises each clip's last state over the batch, which no padding enters.
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
        """Return logits [batch, classes] of features [batch, frames, dimensions]."""
        values = torch.cat(list(self.input(features, lengths).values()), dim=2)
        values, lengths = self.pooling(values, lengths)  # [batch, frames / pooling, dimensions]
        values = self.dropout(self.first(values)[0])  # [batch, frames / pooling, hidden]
        values = self.dropout(last_frame(self.second(values)[0], lengths))  # [batch, hidden]
        return self.classifier(values)  # [batch, classes]


class ConvolutionBlock(nn.Module):
    """Convolution, batch norm, maximum, activation, dropout; zero beyond a clip's end.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel, pooling : two ints each
        bands and frames; kernels are odd, and an incomplete last group is pooled by itself
    activation : nn.Module
        with the value 0 at 0, as every linear unit of torch
    dropout : float
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: tuple[int, int],
        pooling: tuple[int, int],
        activation: nn.Module,
        dropout: float,
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            padding=(kernel[0] // 2, kernel[1] // 2),
            bias=False,
        )
        self.norm = nn.BatchNorm2d(out_channels)
        self.pooling = tuple(pooling)
        self.activation = activation
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map [batch, channels, bands, frames] to the pooled maps and their lengths.

        Bands and frames are divided by the pooling, rounded up. Padding must be zero and is zero
        in the result.
        """
        values = self.norm(self.convolution(values))
        factor = self.pooling[1]
        if factor > 1:  # padding must never be the maximum
            values = values.masked_fill(_padding(values, lengths), float("-inf"))
            lengths = torch.div(lengths + factor - 1, factor, rounding_mode="floor")
        values = nn.functional.max_pool2d(values, self.pooling, ceil_mode=True)
        # Zeros before the activation, as some activations of -inf are NaN.
        values = values.masked_fill(_padding(values, lengths), 0.0)
        return self.dropout(self.activation(values)), lengths


def _padding(values: Tensor, lengths: Tensor) -> Tensor:
    """Mark the padding of [batch, channels, bands, frames]: bool [batch, 1, 1, frames]."""
    return ~valid_frames(lengths, values.shape[3])[:, None, None]


def pooled_size(size: int, *, factors: Sequence[int]) -> int:
    """Compute the number of bands left after pooling by each factor in turn, rounded up."""
    for factor in factors:
        size = -(-size // factor)
    return size
