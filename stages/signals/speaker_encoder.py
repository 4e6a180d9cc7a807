"""A small pre-trained speaker encoder: its front end, and its recurrent layers with their weights.

The weights come inside the package Resemblyzer 0.1.4 (Apache-2.0), so nothing is downloaded at run
time. The encoder tells speakers apart (GE2E loss); it was trained on LibriSpeech (other) and
VoxCeleb 1 and 2, none of which is a corpus here.
"""

from __future__ import annotations

import hashlib
import importlib.util
from functools import cache, lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from stages.signals.spectra import mel_filters, power_spectrum, weighted_sums

SAMPLE_RATE, N_FFT, HOP_LENGTH, N_MELS = 16000, 400, 160, 40
HIDDEN, LAYERS = 256, 3
_SHA256 = "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"
_INSTALL = "pip install --no-deps Resemblyzer==0.1.4"
#: For the card of a model that contains the encoder.
ORIGIN = (
    "Layers of a speaker encoder, from the package Resemblyzer 0.1.4 (Apache-2.0), trained on "
    "LibriSpeech (other), VoxCeleb 1 and VoxCeleb 2"
)


def mel_power(waveform: Tensor, *, hop_length: int = HOP_LENGTH) -> Tensor:
    """Power in 40 mel bands as the encoder hears it: no logarithm, windows of 25 ms.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1] at 16 kHz; the encoder was trained at about -30 dB RMS
    hop_length : int
        in samples; the encoder was trained with 160

    Returns
    -------
    Tensor [..., 40, frames]
        frames = 1 + samples // hop_length

    References
    ----------
    librosa.feature.melspectrogram (power 2, Slaney's mel scale and norm), equal to 1e-6 of the
    largest value
    """
    power = power_spectrum(waveform, n_fft=N_FFT, win_length=N_FFT, hop_length=hop_length)
    return weighted_sums(_mel_filters(waveform.dtype, waveform.device), power)


def recurrent_layers(layers: int) -> nn.LSTM:
    """Build the first layers of the encoder with their pre-trained weights, ready to be trained.

    Parameters
    ----------
    layers : int
        1 to 3, each of 256 units

    Raises
    ------
    ValueError
        for another number; if the package is not installed or its file is not the published one
    """
    if layers not in range(1, LAYERS + 1):
        raise ValueError(f"layer: got {layers}, want 1 to {LAYERS}")
    lstm = nn.LSTM(N_MELS, HIDDEN, layers, batch_first=True)
    weights = _weights()
    lstm.load_state_dict({name: weights[f"lstm.{name}"] for name in lstm.state_dict()})
    return lstm


# Built outside inference mode: weights cached from inside it would block gradients for ever.
@lru_cache
@torch.inference_mode(False)
def frozen_layers(layers: int, dtype: torch.dtype, device: torch.device) -> list[nn.LSTM]:
    """The first layers, each by itself, with weights that do not change; once per process."""
    together, result = recurrent_layers(layers).state_dict(), []
    for number in range(layers):
        lstm = nn.LSTM(HIDDEN if number else N_MELS, HIDDEN, batch_first=True)
        own = lstm.state_dict()
        lstm.load_state_dict({name: together[name.replace("_l0", f"_l{number}")] for name in own})
        result.append(lstm.to(device, dtype).eval().requires_grad_(False))
    return result


@cache
def _weights() -> dict[str, Tensor]:
    """The published weights by name, once per process."""
    found = importlib.util.find_spec("resemblyzer")
    if found is None or not found.submodule_search_locations:
        raise ValueError(f"ge2e: the package Resemblyzer is not installed, want it: {_INSTALL}")
    path = Path(found.submodule_search_locations[0], "pretrained.pt")
    if not path.is_file():
        raise ValueError(f"ge2e: {path} is missing, want it: {_INSTALL} --force-reinstall")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != _SHA256:
        raise ValueError(
            f"ge2e: {path} has the sha256 {digest[:12]}..., want {_SHA256[:12]}...: "
            f"{_INSTALL} --force-reinstall"
        )
    return torch.load(path, map_location="cpu", weights_only=True)["model_state"]


# Built outside inference mode: a constant cached from inside it would block gradients for ever.
@lru_cache
@torch.inference_mode(False)
def _mel_filters(dtype: torch.dtype, device: torch.device) -> Tensor:
    """The filterbank [40, 201], once per process."""
    bands = mel_filters(N_MELS, fmin=0, fmax=SAMPLE_RATE / 2, n_fft=N_FFT, sample_rate=SAMPLE_RATE)
    return torch.from_numpy(bands).to(device, dtype)
