"""Approximate entropy against the textbook's definition, broadcast in torch, on the same frames.

python -m benchmarks.apen

260 frames of 400 samples, as 4 s of speech have, in one thread; seconds of the processor. The
envelopes are no part of the comparison: `feature_ms` is the whole feature on 260 frames' samples.
The last line is a JSON object.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from benchmarks.processes import ROOT
from stages.acoustics.apen import _CONSTANT, _entropies
from stages.clips.kernels import compiled
from stages.clips.settings import bind

_FRAMES = 260


def broadcast(frames: Tensor, *, m: int, r: float) -> Tensor:
    """Approximate entropy of [frames, samples], each place against each other at once."""
    reach = r * frames.std(dim=1, correction=0)[:, None, None]

    def phi(length: int) -> Tensor:
        places = frames.unfold(1, length, 1)
        apart = (places[:, :, None] - places[:, None]).abs().amax(dim=-1)
        return (apart <= reach).double().mean(dim=2).log().mean(dim=1)

    return phi(m) - phi(m + 1)


def fastest(function: Callable[[], object], *, times: int) -> float:
    """Milliseconds of the processor, of the fastest call after one to warm up."""
    function()
    spent = []
    for _ in range(times):
        begun = time.process_time()
        function()
        spent.append(1000 * (time.process_time() - begun))
    return min(spent)


def main() -> None:
    torch.set_num_threads(1)
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        settings = compose("config", ["features=[apen]"]).features.apen
    m, r, length = settings.m, settings.r, settings.frame_length
    rng = np.random.default_rng(0)
    envelopes = np.abs(rng.standard_normal((_FRAMES, length)).cumsum(axis=1))
    parts = torch.from_numpy(envelopes).split(20)  # all at once would take gigabytes
    kernel = compiled(_entropies)
    ours = kernel(envelopes, m, r, _CONSTANT)
    theirs = torch.cat([broadcast(part, m=m, r=r) for part in parts]).numpy()
    waveform = torch.from_numpy(rng.standard_normal((_FRAMES - 1) * settings.hop_length)).float()
    ms = {
        "kernel": fastest(lambda: kernel(envelopes, m, r, _CONSTANT), times=5),
        "broadcast": fastest(lambda: [broadcast(part, m=m, r=r) for part in parts], times=2),
        "feature": fastest(lambda: bind(settings)(waveform), times=3),
    }
    for name, value in ms.items():
        print(f"{name:16}{value:10.1f} ms")
    figures = {f"{name}_ms": round(value, 1) for name, value in ms.items()}
    figures["times"] = round(ms["broadcast"] / ms["kernel"], 1)
    figures["largest_difference"] = float(np.abs(ours - theirs).max())
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
