"""`lstm`: two LSTM layers, the last state, two dense layers."""

from __future__ import annotations

from torch import nn

from stages.learning.layers import RecurrentStack


class LSTM(RecurrentStack):
    """An LSTM over an LSTM; the settings are those of RecurrentStack."""

    kinds = (nn.LSTM, nn.LSTM)
