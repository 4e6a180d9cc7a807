"""Settings composed from conf/ as `dvc exp run` composes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig


def compose_params(overrides: Sequence[str]) -> DictConfig:
    """Compose params.yaml as `dvc exp run -S ...` does.

    Raises
    ------
    ValueError
        if conf/ does not know an override, or there is no conf/ here
    """
    folder = Path("conf").resolve()
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder, want a clone of Inflect as working directory")
    try:
        with initialize_config_dir(str(folder), version_base=None):
            return compose("config", list(overrides))
    except HydraException as error:
        raise ValueError(str(error).splitlines()[0]) from error
