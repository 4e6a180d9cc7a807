"""What several test files share."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from stages.clips.audio import read_file
from stages.clips.settings import bind

ROOT = Path(__file__).parents[1]
#: Settings of `stages.clips.audio.read_file` that leave a clip whole.
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


def composed(*overrides: str) -> dict:
    """params.yaml as `dvc exp run -S override ...` would compose it."""
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        return OmegaConf.to_container(compose("config", list(overrides)), resolve=True)


@cache
def _reader_settings(corpus: str) -> dict:
    return composed(f"corpora=[{corpus}]")["corpora"][corpus]["reader"]


def reader(corpus: str, **changes: object) -> Callable[[Path], list[dict]]:
    """`read` of a corpus with the settings of its yaml, or others."""
    return bind(_reader_settings(corpus) | changes)


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
