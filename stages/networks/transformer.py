"""`transformer`: a small encoder over patches of a few frames, attentive statistics."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from stages.learning.layers import AttentiveStatistics, InputLayer, Normalisation, valid_frames
from stages.settings.checks import check


class Transformer(nn.Module):
    """A transformer encoder over patches of all features over a few frames.

    A convolution over neighbouring patches encodes relative positions. It works at any length, and
    a crop has the same encoding wherever it was taken.

    Parameters
    ----------
    inputs : dimensions by feature
    n_classes : int
    normalisation : str
        see InputLayer
    patch : int
        frames of a patch; zeros fill up the last one
    size : int
        dimensions of a patch's vector
    neighbours : int
        patches that the positional convolution spans, an odd number
    n_layers, heads, expansion : int
        encoder layers; attention heads of each; hidden units of its dense part, as a multiple of
        `size`
    attention : int
        hidden units of the pooling over time
    dropout : float
        of each residual branch
    classifier_dropout : float
        before the classifier

    Raises
    ------
    ValueError
        if the heads do not divide the size, or the number of neighbours is even

    References
    ----------
    Vaswani et al.: Attention Is All You Need, NeurIPS 2017; with the normalisation of Xiong et al.:
    On Layer Normalization in the Transformer Architecture, ICML 2020, and the positions of Baevski
    et al.: wav2vec 2.0, NeurIPS 2020
    """

    def __init__(
        self,
        inputs: Mapping[str, int],
        n_classes: int,
        *,
        normalisation: Normalisation,
        patch: int,
        size: int,
        neighbours: int,
        n_layers: int,
        heads: int,
        expansion: int,
        attention: int,
        dropout: float,
        classifier_dropout: float,
    ) -> None:
        super().__init__()
        check("model.network.heads", heads, size % heads == 0, f"a divisor of the size {size}")
        fine = neighbours % 2 == 1
        check("model.network.neighbours", neighbours, fine, "an odd number of patches")
        self.patch = patch
        self.input = InputLayer(inputs, normalisation=normalisation)
        self.embed = nn.Conv1d(sum(inputs.values()), size, patch, stride=patch)
        self.position = nn.Sequential(
            nn.Conv1d(size, size, neighbours, padding=neighbours // 2, groups=size), nn.GELU()
        )
        self.layers = nn.ModuleList(
            _Layer(size, heads=heads, hidden=expansion * size, dropout=dropout)
            for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(size)
        self.statistics = AttentiveStatistics(size, hidden=attention)
        self.classifier = nn.Sequential(
            nn.Dropout(classifier_dropout), nn.Linear(2 * size, n_classes)
        )

    def forward(self, features: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Return logits [batch, classes] of features [batch, frames, dimensions]."""
        values = torch.cat(list(self.input(features, lengths).values()), dim=2)
        # Zeros fill up the last patch, whatever the number of frames.
        values = nn.functional.pad(values.transpose(1, 2), (0, self.patch - 1))
        values = self.embed(values)  # [batch, size, patches]
        lengths = torch.div(lengths + self.patch - 1, self.patch, rounding_mode="floor")
        valid = valid_frames(lengths, values.shape[2])  # [batch, patches]
        values = values * valid[:, None].to(values.dtype)
        values = (values + self.position(values)).transpose(1, 2)
        for layer in self.layers:
            values = layer(values, valid)  # [batch, patches, size]
        return self.classifier(self.statistics(self.norm(values), lengths))  # [batch, classes]


class _Layer(nn.Module):
    """Attention of each patch to all others of its clip, then a dense part; both are residual.

    torch.nn.TransformerEncoderLayer computes the same, but in evaluation by an operator that ONNX
    lacks.
    """

    def __init__(self, size: int, *, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(size)
        self.project = nn.Linear(size, 3 * size)
        self.join = nn.Linear(size, size)
        self.dense = nn.Sequential(
            nn.LayerNorm(size),
            nn.Linear(size, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, size),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, valid: Tensor) -> Tensor:
        """Map [batch, patches, size] to the same shape; `valid` [batch, patches] masks padding."""
        parts = self.project(self.norm(values)).unflatten(2, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # [batch, heads, patches, size / heads]
        attended = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=valid[:, None, None]
        )
        values = values + self.dropout(self.join(attended.transpose(1, 2).flatten(2)))
        return values + self.dropout(self.dense(values))
