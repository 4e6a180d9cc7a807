"""What several test files share."""

import contextlib
import io
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from stages.clips.settings import bind

ROOT = Path(__file__).parents[1]
#: Settings of `stages.clips.audio.condition` that leave a clip whole.
AUDIO = {
    "sample_rate": 16000,
    "trim_db": None,
    "level": "rms",
    "level_db": -30,
    "min_duration_s": 0.1,
    "min_peak": 0.001,
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


def inside(folder, function) -> str:
    """Call the main function of a module in a folder, without arguments; what it printed."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["program"])
        # Worker processes would outlive the call, and stay in its folder.
        patch.setattr("stages.learning.jobs.processes", lambda _: 1)
        function()
    return out.getvalue()
