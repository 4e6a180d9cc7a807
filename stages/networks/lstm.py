"""`lstm`: two LSTM layers, the last state, two dense layers."""

from __future__ import annotations

from torch import nn

from stages.learning.layers import RecurrentStack


class LSTM(RecurrentStack):
    """Two LSTM layers; for the settings see RecurrentStack."""

    kinds = (nn.LSTM, nn.LSTM)
