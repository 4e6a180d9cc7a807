"""Low-level descriptors of openSMILE, which is optional, on the common frame clock."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.audio.frames import nearest_frames
from stages.audio.store import FULL_SCALE
from stages.settings.checks import check_range
from stages.signals.spectra import check_waveform

#: Requirements beyond requirements.txt.
NEEDS = "opensmile: pip install opensmile==2.6.0 (its licence allows research only)"
_WINDOW_S = 0.06  # the longest window, that of the pitch; shorter clips are padded with zeros
_SPECTRUM_S = 0.02  # the window of most descriptors, which begins where openSMILE's row begins
_INT16 = 32768  # openSMILE's factor from float to integer, before it truncates


def low_level_descriptors(
    waveform: Tensor,
    *,
    feature: str,
    feature_set: str,
    descriptors: Sequence[str],
    sample_rate: int,
    hop_length: int,
) -> Tensor:
    """Compute low-level descriptors with openSMILE; each frame takes the nearest of its rows.

    Clips are processed one by one, on a CPU and in one thread.

    Parameters
    ----------
    waveform : Tensor [..., samples]
        mono signal in [-1, 1]; rounded to 16 bits and clipped at full scale
    feature : str
        name of the feature in messages
    feature_set : str
        a member of opensmile.FeatureSet
    descriptors : sequence of str
        openSMILE's names of the dimensions, in their order
    sample_rate : int
        in Hz, at least 8000
    hop_length : int
        in samples

    Returns
    -------
    Tensor [..., descriptors, frames]
        in openSMILE's units; 0 where a descriptor is not defined; frames =
        1 + samples // hop_length

    Raises
    ------
    ImportError
        if opensmile is not installed, with the command that installs it
    ValueError
        for a setting outside its range; if the waveform is empty or holds NaN or infinity
    """
    check_range("sample_rate", sample_rate, low=8000)  # a lower rate cuts off the formants' range
    check_range("hop_length", hop_length, low=1)
    check_waveform(waveform)
    smile = _smile(feature, feature_set)
    results = []
    for clip in waveform.detach().reshape(-1, waveform.shape[-1]).cpu().numpy():
        samples = np.zeros(max(len(clip), math.ceil(_WINDOW_S * sample_rate)), dtype=np.float32)
        # The integers of the audio store. openSMILE's own scale would overflow at full scale.
        samples[: len(clip)] = np.rint(clip.clip(-1, 1) * FULL_SCALE) / _INT16
        table = smile.process_signal(samples, sample_rate)
        starts = table.index.get_level_values("start").total_seconds().to_numpy()
        nearest = nearest_frames(
            starts + _SPECTRUM_S / 2,
            samples=len(clip),
            sample_rate=sample_rate,
            hop_length=hop_length,
        )
        results.append(table[list(descriptors)].to_numpy(dtype=np.float32)[nearest].T)
    values = np.nan_to_num(np.stack(results), nan=0.0, posinf=0.0, neginf=0.0)
    return torch.from_numpy(values).to(waveform).reshape(*waveform.shape[:-1], *values.shape[1:])


@lru_cache
def _smile(feature: str, feature_set: str) -> Any:
    """The openSMILE extractor, built once per process."""
    try:
        import opensmile  # optional
    except ImportError as error:
        raise ImportError(f"features.{feature}: got no library opensmile, want {NEEDS}") from error
    return opensmile.Smile(
        feature_set=getattr(opensmile.FeatureSet, feature_set),
        feature_level=opensmile.FeatureLevel.LowLevelDescriptors,
    )
