"""What several test files share."""

import contextlib
import io
import json
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from stages.audio.conditioning import conditioning
from stages.audio.reading import read_file
from stages.settings.loading import bind

ROOT = Path(__file__).parents[1]
#: Of the small networks that answer in tests.
LABELS = ["angry", "happy", "sad"]
#: Settings of `stages.audio.reading.read_file` that leave a clip whole.
AUDIO = {
    "sample_rate": 16000,
    "denoise": None,
    "trim_db": None,
    "level": "rms",
    "level_db": -30,
    "min_duration_s": 0.1,
    "min_peak": 0.001,
    "segment_s": None,
    "segment_overlap_s": None,
}


def sample_rate_of(feature: str) -> int | None:
    """The only rate that a feature takes, in Hz; None if it takes any."""
    return getattr(import_module(f"stages.acoustics.{feature}"), "SAMPLE_RATE", None)


def as_plugin(patch: pytest.MonkeyPatch, name: str, thing: Any) -> str:
    """Let settings name a function or class as if a module of stages/ defined it; its full name."""
    module = ModuleType(name)
    setattr(module, thing.__name__, thing)
    patch.setitem(sys.modules, name, module)
    patch.setattr(thing, "__module__", name)
    return f"{name}.{thing.__name__}"


def sharpen(network, *, factor: float) -> None:
    """Scale the weights drawn at random, so that answers differ from clip to clip.

    Pre-trained recurrent layers would become chaotic: they stay, and the few others make up for it.
    """
    pretrained = getattr(network, "lr_fractions", {})
    factor = factor**2 if pretrained else factor
    for name, weight in network.named_parameters():
        if not any(name.startswith(begin) and name.endswith(end) for begin, end in pretrained):
            weight.data *= factor


def own_features() -> list[str]:
    """Names in conf/features, but for those that need what is not in requirements.txt."""
    names = sorted(path.stem for path in (ROOT / "conf" / "features").glob("*.yaml"))
    return [n for n in names if not hasattr(import_module(f"stages.acoustics.{n}"), "NEEDS")]


@cache
def networks() -> list[str]:
    """Names in conf/model of models that are networks."""
    from stages.learning.learner import is_network

    paths = sorted((ROOT / "conf" / "model").glob("*.yaml"))
    return [path.stem for path in paths if is_network(OmegaConf.load(path))]


def speech_like(samples: int, *, rate: int = 16000, seed: int = 0) -> np.ndarray:
    """Syllables of a harmonic voice with gliding pitch, breath noise, and a pause after each."""
    time = np.arange(samples) / rate
    noise = np.random.default_rng(seed).standard_normal(samples)
    phase = 2 * np.pi * (140 * time + 4 * np.sin(2 * np.pi * 1.5 * time))
    voice = sum(np.sin(k * phase) / k for k in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * 3 * time + 0.5), 0, None)
    return 0.1 * syllables * (voice + 0.1 * noise) + 1e-4 * noise


def composed(*overrides: str) -> dict:
    """params.yaml as `dvc exp run -S override ...` would compose it; the caller may change it."""
    return deepcopy(_composed(*overrides))


@cache
def _composed(*overrides: str) -> dict:
    """Composing takes a tenth of a second, and most settings are asked for by many tests."""
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        return OmegaConf.to_container(compose("config", list(overrides)), resolve=True)


def reader(corpus: str, **changes: object) -> Callable[[Path], list[dict]]:
    """`read` of a corpus with the settings of its yaml, or others."""
    return bind(composed(f"corpora=[{corpus}]")["corpora"][corpus]["reader"] | changes, "corpora")


def read_clip(path: Path, **settings) -> tuple[dict, np.ndarray]:
    """What `read_file` finds of a file, and all samples that it writes; a refusal is raised."""
    blocks = [np.zeros(0, np.int16)]
    facts = read_file(path, write=blocks.append, folder=path.parent, **settings)
    if facts["excluded"]:
        assert not sum(map(len, blocks))
        raise ValueError(facts["excluded"])
    return facts, np.concatenate(blocks)


def conditioned(samples: np.ndarray, rate: int, **settings) -> np.ndarray:
    """int16 samples that a recording, float [samples] or [samples, channels], becomes."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.wav")
        soundfile.write(path, samples, rate, subtype="FLOAT")
        return read_clip(path, **settings)[1]


def inside(folder, function, *arguments: str) -> str:
    """Call the main function of a module in a folder; what it printed."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["program", *arguments])
        # Worker processes would outlive the call, and stay in its folder.
        patch.setattr("stages.learning.jobs.processes", lambda _: 1)
        function()
    return out.getvalue()


def exported_network() -> bytes:
    """A small untrained network on two quick features as a graph, whose answers differ."""
    import torch

    from stages.exporting.graph import to_onnx
    from stages.learning.recogniser import Recogniser

    params = composed("model=gru", "features=[rms,zcr]", "model.network.pooling=16")
    torch.manual_seed(0)
    network = bind(params["model"]["network"], "networks")({"rms": 1, "zcr": 1}, len(LABELS)).eval()
    network.input.fit(
        {"rms": (torch.tensor([-30.0]), torch.ones(1)), "zcr": (torch.ones(1) / 2, torch.ones(1))}
    )
    for weight in network.parameters():
        weight.data *= 2  # so that the answers differ from file to file
    heard = conditioning(AUDIO)
    recogniser = Recogniser(
        network,
        features={name: bind(feature, "acoustics") for name, feature in params["features"].items()},
        labels=LABELS,
        sample_rate=heard["sample_rate"],
        level=heard["level"],
        level_db=heard["level_db"],
    )
    facts = {
        "labels": LABELS,
        "sample_rate": heard["sample_rate"],
        "audio": heard,
        "model": "gru",
        "ua": 0.5,
        "speech": "synthetic",
    }
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in facts.items()}
    return to_onnx(recogniser.eval(), metadata=texts)


def run_of_clips(clips, *, store, settings, label_sets, dependent=False):
    """A run as far as sections about clips read it, without predictions and models."""
    from stages.reporting.run import Run

    known = {"clips": clips, "store": store, "settings": settings, "label_sets": label_sets}
    known |= {"leakage": {"speaker_dependent": dependent}}
    return Run(**dict.fromkeys(Run.__dataclass_fields__) | known)
