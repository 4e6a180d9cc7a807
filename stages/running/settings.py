"""What every stage starts with: the composed settings, messages, and how many processes to use."""

from __future__ import annotations

import logging
import sys
from functools import partial
from pathlib import Path
from typing import Any

import joblib
from omegaconf import DictConfig, OmegaConf


def load_params(path: str | Path = "params.yaml") -> DictConfig:
    """Read the composed settings of params.yaml and let messages through, one line each."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return OmegaConf.load(path)


def bind(settings: Any) -> partial:
    """The function or class that a `_target_` names, ready to be called, its settings filled in."""
    from hydra.errors import InstantiationException  # takes as long to import as all else here
    from hydra.utils import instantiate

    try:
        bound = instantiate(settings, _partial_=True, _convert_="all")
    except InstantiationException as error:  # in a nested section; its own message is the plain one
        if isinstance(error.__cause__, ValueError):
            raise error.__cause__ from None
        raise
    # Hydra's own kind looks at its rules at every call again: for longer than a short clip takes.
    return partial(bound.func, *bound.args, **bound.keywords)


def processes(jobs: int) -> int:
    """How many worker processes to use: one per core that this process may use and per job."""
    return max(1, min(joblib.cpu_count(), jobs))
