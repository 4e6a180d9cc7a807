"""`lstm_gru`: an LSTM layer, a GRU layer, the last state, two dense layers."""

from __future__ import annotations

from torch import nn

from stages.learning.layers import RecurrentStack


class LSTMGRU(RecurrentStack):
    """An LSTM layer, then a GRU layer; for the settings see RecurrentStack."""

    kinds = (nn.LSTM, nn.GRU)
