"""Composed settings, the code that they name, messages, and the number of processes."""

from __future__ import annotations

import io
import logging
import re
import sys
import textwrap
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import joblib
import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from stages.settings.checks import check
from stages.settings.parameters import check_params

#: Settings of a training that have a `_target_` of their own.
_NESTED = ("augment", "schedule")
_MAX_BYTES, _DEEPEST = 200_000, 50  # of params.yaml; it has 10 kB and 6 levels


def load_params(path: str | Path = "params.yaml") -> DictConfig:
    """Read and check params.yaml, and send messages to standard error, one line each.

    Raises
    ------
    FileNotFoundError
        if there is no such file
    ValueError
        if the file holds no settings, see `read_settings`; naming the first wrong
        setting, see stages.settings.parameters
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    params = read_settings(path, want="settings that `dvc exp run` has composed")
    check_params(plain(params))
    return params


def read_settings(path: str | Path, *, want: str) -> DictConfig:
    """Read a YAML file of settings, which may be of somebody else's experiment.

    Parameters
    ----------
    path : path
    want : str
        what the file should hold, in words

    Raises
    ------
    FileNotFoundError
        if there is no such file
    ValueError
        if the file is no YAML, too large, or no group of settings; or if it has an alias or a
        reference, which need not be there: a few lines of them can expand without limit
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        size = Path(path).stat().st_size
        check(
            "size", size, Path(path).is_file() and size <= _MAX_BYTES, f"up to {_MAX_BYTES} bytes"
        )
        text = Path(path).read_text(encoding="utf-8")
        depth = 0
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            check("nesting", depth, depth <= _DEEPEST, f"at most {_DEEPEST}")
            alias = isinstance(event, yaml.AliasEvent)
            check("alias", f"*{getattr(event, 'anchor', '')}", not alias, "the value itself")
            value = event.value if isinstance(event, yaml.ScalarEvent) else ""
            check("reference", value, "${" not in value, "the value itself")
        params = OmegaConf.load(io.StringIO(text))
        check("content", type(params).__name__, isinstance(params, DictConfig), "a group")
    except (ValueError, OSError, yaml.YAMLError, OmegaConfBaseException) as error:
        reason = textwrap.shorten(str(error), 300)
        raise ValueError(f"{path}: {reason}; want {want}") from error
    return cast(DictConfig, params)


def plain(settings: DictConfig) -> dict[str, Any]:
    """Nested dicts and lists of settings, with all references resolved."""
    return cast(dict[str, Any], OmegaConf.to_container(settings, resolve=True))


def bind(settings: Any, folder: str) -> partial:
    """Bind the function or class that a `_target_` names to its settings.

    Settings come from files, of which a checkpoint may be somebody else's. So they name code only
    where a group of settings has some: a public function or class that a module of this folder of
    stages/ defines. Everything else in them is a value.

    Parameters
    ----------
    settings : mapping
        `_target_` and arguments
    folder : str
        such as "acoustics"

    Raises
    ------
    ValueError
        naming a `_target_` that is not one of these, or stands elsewhere; what a nested section
        refuses
    """
    values = plain(settings) if isinstance(settings, DictConfig) else dict(settings)
    module, function = _target(values, folder)
    arguments = {}
    for key, value in values.items():
        if key == "_target_":
            continue
        if folder == "learning" and key in _NESTED and isinstance(value, dict):
            value = bind(value, folder)()
        elif _names_code(value):
            raise ValueError(f"{key}: got a `_target_` in {value!r}, want values")
        arguments[key] = value
    return partial(getattr(module, function), **arguments)


def _names_code(value: Any) -> bool:
    """Tell whether a `_target_` stands anywhere in a value."""
    if isinstance(value, dict):
        return "_target_" in value or any(map(_names_code, value.values()))
    return isinstance(value, list) and any(map(_names_code, value))


def module_of(settings: Any, folder: str) -> ModuleType:
    """Import the module of the function that a `_target_` names; see `bind`."""
    return _target(settings, folder)[0]


def _target(settings: Any, folder: str) -> tuple[ModuleType, str]:
    """Import the module that a `_target_` names, and return it with the name of the object."""
    name = settings.get("_target_")
    want = f"a public function or class of stages.{folder}, such as conf/ names"
    match = re.fullmatch(rf"(stages\.{folder}\.[a-z]\w*)\.([A-Za-z]\w*)", str(name))
    check("_target_", name, match is not None, want)
    assert match is not None
    try:
        module = import_module(match[1])
    except ModuleNotFoundError as error:
        if error.name != match[1]:
            raise
        raise ValueError(f"_target_: got {name!r}, want {want}") from None
    found = getattr(module, match[2], None)
    check("_target_", name, getattr(found, "__module__", None) == module.__name__, want)
    return module, match[2]


def processes(jobs: int) -> int:
    """Number of worker processes: one per available core, and no more than jobs."""
    return max(1, min(joblib.cpu_count(), jobs))
