"""Layer outputs of pre-trained speech models on the common frame clock."""

from __future__ import annotations

import math
import pickle
import sys
from contextlib import redirect_stdout
from functools import lru_cache
from http.client import HTTPException
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.audio.frames import nearest_frames
from stages.settings.checks import check, check_range
from stages.signals.spectra import check_waveform

if TYPE_CHECKING:
    from torchaudio.models import Wav2Vec2Model

#: Transformer layers of each model in torchaudio.pipelines, which takes seconds to import.
LAYERS = {
    **dict.fromkeys(("WAV2VEC2_BASE", "HUBERT_BASE", "WAVLM_BASE", "WAVLM_BASE_PLUS"), 12),
    **dict.fromkeys((f"WAV2VEC2_ASR_BASE_{hours}" for hours in ("10M", "100H", "960H")), 12),
    **dict.fromkeys(("WAV2VEC2_LARGE", "WAV2VEC2_LARGE_LV60K", "WAV2VEC2_XLSR53"), 24),
    **dict.fromkeys((f"WAV2VEC2_ASR_LARGE_{hours}" for hours in ("10M", "100H", "960H")), 24),
    **dict.fromkeys((f"WAV2VEC2_ASR_LARGE_LV60K_{hours}" for hours in ("10M", "100H", "960H")), 24),
    **dict.fromkeys(("WAV2VEC2_XLSR_300M", "HUBERT_LARGE", "HUBERT_ASR_LARGE", "WAVLM_LARGE"), 24),
    **dict.fromkeys(("WAV2VEC2_XLSR_1B", "WAV2VEC2_XLSR_2B"), 48),
    **dict.fromkeys(("HUBERT_XLARGE", "HUBERT_ASR_XLARGE"), 48),
}
SAMPLE_RATE = 16000  # of all these models, in Hz
_STRIDE, _FIELD = 320, 400  # samples, of the convolutional encoder of all these models
_MARGIN = 100 * _STRIDE  # context on either side of a window of a long clip: 2 s


def layer_output(
    waveform: Tensor,
    *,
    family: str,
    sample_rate: int,
    hop_length: int,
    bundle: str,
    layer: int,
    window_s: float,
) -> Tensor:
    """Output of one transformer layer of a pre-trained model with frozen weights.

    The model has a frame every 20 ms; each frame of the common clock takes the nearest one. Clips
    pass through the model one at a time, because it normalises its whole input at once. No
    gradients reach the waveform.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]; a clip shorter than 25 ms is padded with zeros
    family : str
        prefix of the names of the feature's bundles
    sample_rate : int
        in Hz; the model's own, 16000
    hop_length : int
        in samples
    bundle : str
        name of the model and its weights in torchaudio.pipelines
    layer : int
        1 is the first transformer layer, -1 the last
    window_s : float
        longest window, 5 to 60 s. Longer clips are split into windows with 2 s of context on either
        side, so memory does not grow with the length of a clip.

    Returns
    -------
    Tensor [..., dimensions, frames]
        frames = 1 + samples // hop_length

    Raises
    ------
    ValueError
        for a setting outside its range, listing the choices; if the waveform is empty or holds
        NaN or infinity; if the weights can be neither found nor downloaded

    References
    ----------
    torchaudio.models.Wav2Vec2Model.extract_features, equal for clips of up to `window_s`
    """
    known = sorted(name for name in LAYERS if name.startswith(family))
    check("bundle", bundle, bundle in known, f"one of {', '.join(known)}")
    want = f"audio.sample_rate {SAMPLE_RATE}, the only one that {bundle} knows"
    check("sample_rate", sample_rate, sample_rate == SAMPLE_RATE, want)
    depth = LAYERS[bundle]
    check_range("hop_length", hop_length, low=1)
    check_range("window_s", window_s, low=5, high=60)
    check(
        "layer",
        layer,
        layer in (*range(-depth, 0), *range(1, depth + 1)),
        f"1 to {depth}, or -1 (the last) to -{depth} of {bundle}",
    )
    check_waveform(waveform)
    samples = waveform.shape[-1]
    clips = waveform.detach().reshape(-1, samples).float()
    clips = F.pad(clips, (0, max(0, _FIELD - samples)))
    model = _model(bundle, waveform.device)
    number = layer if layer > 0 else depth + 1 + layer
    window = round(window_s * sample_rate)
    values = torch.stack([_frames(clip, model, number, window) for clip in clips])
    centres_s = (_STRIDE * torch.arange(values.shape[1]) + _FIELD // 2).numpy() / sample_rate
    nearest = nearest_frames(
        centres_s, samples=samples, sample_rate=sample_rate, hop_length=hop_length
    )
    output = values[:, torch.from_numpy(nearest).to(values.device)].transpose(1, 2)
    return output.to(waveform.dtype).reshape(*waveform.shape[:-1], *output.shape[1:])


@torch.no_grad()
def _frames(clip: Tensor, model: Wav2Vec2Model, layer: int, window: int) -> Tensor:
    """The model's frames [frames, dimensions] of a clip [samples], window by window."""
    length = len(clip) / math.ceil(len(clip) / window)  # equal windows, and no short last one
    core = math.ceil(length / _STRIDE) * _STRIDE
    parts = []
    for start in range(0, len(clip), core):
        first = max(0, start - _MARGIN)
        end = len(clip) if start + core >= len(clip) else start + core + _MARGIN
        outputs, _ = model.extract_features(clip[None, first:end], num_layers=layer)
        skipped = (start - first) // _STRIDE
        parts.append(outputs[-1][0, skipped : skipped + core // _STRIDE])
    return torch.cat(parts)


@lru_cache
def _model(bundle: str, device: torch.device) -> Wav2Vec2Model:
    """The model of a bundle, built once per process; torchaudio downloads its weights."""
    from torchaudio import pipelines  # takes seconds to import, and most runs do without

    try:
        with redirect_stdout(sys.stderr):  # torchaudio prints the download to stdout
            model = getattr(pipelines, bundle).get_model()
    except (OSError, HTTPException, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"weights of {bundle}: {error}; they are downloaded once from the internet and kept in "
            f"{torch.hub.get_dir()}/checkpoints: delete a broken file there"
        ) from None
    return model.to(device).eval().requires_grad_(False)
