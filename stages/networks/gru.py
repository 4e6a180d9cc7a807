"""`gru`: two GRU layers, the last state, two dense layers: a common small network."""

from __future__ import annotations

from torch import nn

from stages.learning.layers import RecurrentStack


class GRU(RecurrentStack):
    """Two GRU layers; for the settings see RecurrentStack."""

    kinds = (nn.GRU, nn.GRU)
