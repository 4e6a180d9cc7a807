"""Layers of pre-trained speech models on the common clock: what several features are made of."""

from __future__ import annotations

import math
import pickle
import sys
from contextlib import redirect_stdout
from functools import lru_cache
from http.client import HTTPException

import torch
from torch import Tensor, nn

from stages.audio.frames import nearest_frames
from stages.running.checks import check_range
from stages.signals.spectra import check_waveform

# Of the convolutions that all these models begin with, in samples.
_STRIDE, _FIELD = 320, 400
_MARGIN = 100 * _STRIDE  # 2 s that a window of a long clip sees on either side


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
    """What one transformer layer of a pre-trained model makes of a waveform, its weights frozen.

    The model has a frame every 20 ms, of which the nearest to each frame is taken. It is given one
    clip at a time, as it normalises what it is given as a whole. Without gradients.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]; one of less than 25 ms is followed by zeros
    family : str
        what the names of the feature's bundles begin with
    sample_rate : int
        in Hz; that of the model, 16000
    hop_length : int
        in samples
    bundle : str
        name of the model and its weights in torchaudio.pipelines
    layer : int
        1 is the first transformer layer, -1 the last
    window_s : float
        longer clips are cut into windows of this length at most, each heard with 2 s more on
        either side, so that memory does not grow with a clip's length; 5 to 60

    Returns
    -------
    Tensor [..., dimensions, frames]
        frames = 1 + samples // hop_length

    Raises
    ------
    ValueError
        for a setting outside its range, naming what there is; if the waveform is empty or holds
        NaN or infinity; if there are no weights, saying where they would come from

    References
    ----------
    torchaudio.models.Wav2Vec2Model.extract_features, equal to it for clips of up to `window_s`
    """
    depth = _check_model(family, bundle, sample_rate)
    check_range("hop_length", hop_length, low=1)
    check_range("window_s", window_s, low=5, high=60)
    if layer not in (*range(-depth, 0), *range(1, depth + 1)):
        wanted = f"1 to {depth}, or -1 (the last) to -{depth}"
        raise ValueError(f"layer: got {layer}, want {wanted} of {bundle}")
    check_waveform(waveform)
    samples = waveform.shape[-1]
    clips = waveform.detach().reshape(-1, samples).float()
    clips = nn.functional.pad(clips, (0, max(0, _FIELD - samples)))
    model = _model(bundle, waveform.device)
    number = layer if layer > 0 else depth + 1 + layer
    window = round(window_s * sample_rate)
    values = torch.stack([_frames(clip, model, number, window) for clip in clips])
    centres = (_STRIDE * torch.arange(values.shape[1]) + _FIELD // 2).numpy() / sample_rate
    nearest = nearest_frames(
        centres, samples=samples, sample_rate=sample_rate, hop_length=hop_length
    )
    taken = values[:, torch.from_numpy(nearest).to(values.device)].transpose(1, 2)
    return taken.to(waveform.dtype).reshape(*waveform.shape[:-1], *taken.shape[1:])


def _check_model(family: str, bundle: str, sample_rate: int) -> int:
    """Layers of a model that there is, for waveforms of its rate."""
    from torchaudio import pipelines  # takes seconds, and most runs do without

    # How deep a model is, only its private settings tell before its weights are there.
    depths = {
        name: found._params["encoder_num_layers"]
        for name, found in vars(pipelines).items()
        if name.startswith(family) and isinstance(found, pipelines.Wav2Vec2Bundle)
    }
    if bundle not in depths:
        raise ValueError(f"bundle: got {bundle}, want one of {', '.join(depths)}")
    wanted = getattr(pipelines, bundle).sample_rate
    if sample_rate != wanted:
        raise ValueError(
            f"sample_rate: got {sample_rate}, want audio.sample_rate {wanted:g}, the only one that "
            f"{bundle} knows"
        )
    return depths[bundle]


@torch.no_grad()
def _frames(clip: Tensor, model: nn.Module, layer: int, window: int) -> Tensor:
    """The model's frames [frames, dimensions] of a clip [samples], window by window."""
    share = len(clip) / math.ceil(len(clip) / window)  # all windows alike, none a mere rest
    core = math.ceil(share / _STRIDE) * _STRIDE
    parts = []
    for start in range(0, len(clip), core):
        first = max(0, start - _MARGIN)
        heard = clip[first:] if start + core >= len(clip) else clip[first : start + core + _MARGIN]
        outputs, _ = model.extract_features(heard[None], num_layers=layer)
        skipped = (start - first) // _STRIDE
        parts.append(outputs[-1][0, skipped : skipped + core // _STRIDE])
    return torch.cat(parts)


@lru_cache
def _model(bundle: str, device: torch.device) -> nn.Module:
    """The model with its weights, once per process; the library downloads them the first time."""
    from torchaudio import pipelines

    try:
        with redirect_stdout(sys.stderr):  # the library announces a download there
            model = getattr(pipelines, bundle).get_model()
    except (OSError, HTTPException, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"weights of {bundle}: {error}; they are downloaded once, which takes the internet, "
            f"and kept in {torch.hub.get_dir()}/checkpoints, where a broken file is to be deleted"
        ) from None
    return model.to(device).eval().requires_grad_(False)
