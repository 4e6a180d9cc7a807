"""What a small pre-trained speaker encoder hears in each frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stages.acoustics import Description
from stages.audio.frames import frame_count
from stages.settings.checks import check, check_range
from stages.signals import speaker_encoder
from stages.signals.speaker_encoder import (
    HIDDEN,
    HOP_LENGTH,
    LAYERS,
    frozen_layers,
    mel_power,
)

#: The only one that the encoder knows, in Hz.
SAMPLE_RATE = speaker_encoder.SAMPLE_RATE
ORIGIN = speaker_encoder.ORIGIN


def ge2e(
    waveform: Tensor, *, sample_rate: int, hop_length: int, layer: int | Sequence[int]
) -> Tensor:
    """Output of recurrent layers of the speaker encoder, their weights frozen.

    The encoder has a frame every 10 ms; each common frame takes the nearest of these. It runs
    forward in time, so no frame depends on what comes after it but for half a window.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1], best at the level that the encoder was trained at, -30 dB RMS
    sample_rate : int
        in Hz; that of the encoder, 16000
    hop_length : int
        in samples
    layer : int or sequence of int
        1 to 3, one or several; the second tells most of emotion, the third most of the speaker

    Returns
    -------
    Tensor [..., 256 * layers, frames]
        between -1 and 1, the lowest layer first; frames = 1 + samples // hop_length

    Raises
    ------
    ValueError
        for a setting outside its range; if the waveform is empty or holds NaN or infinity; if the
        package with the weights is missing or damaged, with the command that installs it

    References
    ----------
    Wan et al., "Generalized end-to-end loss for speaker verification", ICASSP 2018; the weights of
    Resemblyzer 0.1.4, equal to its network to 1e-5
    """
    check(
        "sample_rate", sample_rate, sample_rate == SAMPLE_RATE, f"{SAMPLE_RATE} (audio=speech16k)"
    )
    check_range("hop_length", hop_length, low=1)
    chosen = list(layer) if isinstance(layer, Sequence) else [layer]
    known = set(chosen) <= set(range(1, LAYERS + 1))
    fine = known and 0 < len(chosen) == len(set(chosen))
    check("layer", layer, fine, f"1 to {LAYERS}, or several of these, each once")
    bands = mel_power(waveform).transpose(-1, -2)  # [..., frames of 10 ms, 40]
    states, outputs = bands.reshape(-1, *bands.shape[-2:]), []
    for number, recurrent in enumerate(
        frozen_layers(max(chosen), waveform.dtype, waveform.device), start=1
    ):
        states, _ = recurrent(states)  # [clips, frames of 10 ms, 256]
        if number in chosen:
            outputs.append(states)
    states = torch.cat(outputs, dim=2)
    if hop_length != HOP_LENGTH:
        # In whole numbers, which a traced graph follows; of two equally near frames the earlier.
        frames = torch.arange(
            frame_count(waveform.shape[-1], hop_length=hop_length), device=waveform.device
        )
        nearest = (2 * frames * hop_length + HOP_LENGTH - 1) // (2 * HOP_LENGTH)
        states = states[:, nearest.clamp_max(bands.shape[-2] - 1)]
    return states.transpose(1, 2).reshape(*waveform.shape[:-1], -1, states.shape[1])


def describe(*, layer: int | Sequence[int], **_: object) -> Description:
    """Describe the activation by unit; the units have no order."""
    layers = len(layer) if isinstance(layer, Sequence) else 1
    return Description("activation (-1 to 1)", "unit", np.arange(HIDDEN * layers))
