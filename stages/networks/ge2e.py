"""`ge2e`: a pre-trained speaker encoder, trained further on emotions, under attentive pooling."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from stages.learning.layers import AttentiveStatistics, InputLayer, Normalisation, mean_and_std
from stages.settings.checks import check, check_range
from stages.signals import speaker_encoder
from stages.signals.speaker_encoder import HIDDEN, recurrent_layers

ORIGIN = speaker_encoder.ORIGIN


class GE2E(nn.Module):
    """Recurrent layers of the encoder, two kinds of pooling, two dense layers.

    Features beside the encoder's own are averaged over time and join its pooled vector.

    Parameters
    ----------
    inputs : dimensions by feature
        `melpower`, which the encoder hears, and any others
    n_classes : int
    normalisation : fold
        of the other features, see InputLayer; the others would leave nothing of an average
    layers : int
        of the encoder, 1 to 3, with their pre-trained weights
    encoder_lr : float
        learning rate of the encoder's last layer as a fraction of train.lr; each layer below has
        half of the rate of the one above it
    warp : float
        largest change of the frequency scale of a training clip, as a fraction, drawn anew for
        every clip and step; 0 turns it off
    attention, dense : int
        hidden units of the attention; units of the dense layer
    dropout : float
        before each dense layer

    Raises
    ------
    ValueError
        if `melpower` is not among the features; naming a setting that is out of its range; if the
        package with the weights is missing or damaged

    References
    ----------
    Wan et al., "Generalized end-to-end loss for speaker verification", ICASSP 2018: the encoder
    Jaitly, Hinton, "Vocal tract length perturbation improves speech recognition", 2013: the warp
    """

    def __init__(
        self,
        inputs: Mapping[str, int],
        n_classes: int,
        *,
        normalisation: Normalisation,
        layers: int,
        encoder_lr: float,
        warp: float,
        attention: int,
        dense: int,
        dropout: float,
    ) -> None:
        super().__init__()
        check("features", list(inputs), "melpower" in inputs, "melpower, which ge2e hears")
        check_range("model.network.layers", layers, low=1, high=speaker_encoder.LAYERS)
        check("model.network.encoder_lr", encoder_lr, encoder_lr >= 0, "at least 0")
        check("model.network.warp", warp, 0 <= warp < 0.5, "at least 0 and less than 0.5")
        self.input = InputLayer(inputs, normalisation=normalisation)
        self.others = [name for name in inputs if name != "melpower"]
        by_fold = not self.others or normalisation == "fold"
        want = "fold: the mean of a clip is what the network takes of other features"
        check("model.network.normalisation", normalisation, by_fold, want)
        self.encoder = recurrent_layers(layers)
        #: Learning rates as fractions of train.lr, by the beginning and end of a weight's name.
        self.lr_fractions = {
            ("encoder.", f"_l{layer}"): encoder_lr * 0.5 ** (layers - 1 - layer)
            for layer in range(layers)
        }
        self.warp = warp
        self.statistics = AttentiveStatistics(HIDDEN, hidden=attention)
        size = 4 * HIDDEN + sum(inputs[name] for name in self.others)
        self.norm = nn.BatchNorm1d(size, affine=False)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(size, dense),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(dense, n_classes),
        )

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Return logits [batch, classes] of features [batch, frames, dimensions]."""
        bands = features["melpower"]  # [batch, frames, 40]
        if self.training and self.warp:
            bands = self._warped(bands)
        # The encoder runs forward in time, so padding behind a clip changes none of its frames.
        states, _ = self.encoder(bands)  # [batch, frames, 256]
        pooled = [self.statistics(states, lengths), mean_and_std(states, lengths)]
        if self.others:
            values = self.input(features, lengths)
            count = lengths[:, None].to(states.dtype)
            pooled += [values[name].sum(dim=1) / count for name in self.others]
        return self.classifier(self.norm(torch.cat(pooled, dim=1)))  # [batch, classes]

    def _warped(self, bands: Tensor) -> Tensor:
        """Stretch or squeeze the frequency scale of each clip, as another vocal tract would."""
        count = bands.shape[2]
        factor = 1 + self.warp * (2 * torch.rand(len(bands), 1, device=bands.device) - 1)
        place = (torch.arange(count, device=bands.device) * factor).clamp(max=count - 1)
        below = place.floor()
        upper = (below + 1).clamp(max=count - 1).long()[:, None].expand_as(bands)
        lower = below.long()[:, None].expand_as(bands)
        return torch.lerp(bands.gather(2, lower), bands.gather(2, upper), (place - below)[:, None])
