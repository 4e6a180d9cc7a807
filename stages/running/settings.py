"""Composed settings, the code that they name, messages, and the number of processes."""

from __future__ import annotations

import logging
import sys
from functools import partial
from pathlib import Path
from typing import Any, cast

import joblib
from omegaconf import DictConfig, OmegaConf


def load_params(path: str | Path = "params.yaml") -> DictConfig:
    """Read params.yaml, and send messages to standard error, one line each."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return cast(DictConfig, OmegaConf.load(path))


def plain(settings: DictConfig) -> dict[str, Any]:
    """Nested dicts and lists of settings, with all references resolved."""
    return cast(dict[str, Any], OmegaConf.to_container(settings, resolve=True))


def bind(settings: Any) -> partial:
    """Bind the function or class that a `_target_` names to its settings.

    Raises
    ------
    ValueError
        what a nested section with a `_target_` of its own refuses
    """
    from hydra.errors import InstantiationException  # takes as long to import as all else here
    from hydra.utils import instantiate

    try:
        bound = instantiate(settings, _partial_=True, _convert_="all")
    except InstantiationException as error:  # Hydra hides the message of the nested section
        if isinstance(error.__cause__, ValueError):
            raise error.__cause__ from None
        raise
    # Hydra's own partial checks its rules at every call, which takes longer than a short clip.
    return partial(bound.func, *bound.args, **bound.keywords)


def processes(jobs: int) -> int:
    """Number of worker processes: one per available core, and no more than jobs."""
    return max(1, min(joblib.cpu_count(), jobs))
