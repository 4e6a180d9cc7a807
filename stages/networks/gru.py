"""`gru`: two GRU layers, the last state, two dense layers; the small system of many notebooks."""

from __future__ import annotations

from torch import nn

from stages.learning.layers import RecurrentStack


class GRU(RecurrentStack):
    """A GRU over a GRU; the settings are those of RecurrentStack."""

    kinds = (nn.GRU, nn.GRU)
