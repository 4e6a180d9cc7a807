"""Acoustic features: in each module, the function of its name computes one.

A module may also define `describe`, which takes the settings of that function and says what its
numbers are, and `warper`, where its dimensions are not frequencies but made from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

FREQUENCY = "frequency (Hz)"


class Description(NamedTuple):
    """What the numbers of a feature are, for whoever draws or lists them.

    Attributes
    ----------
    values : str
        their quantity, and its unit in brackets: "power (dB)"
    dimension : str
        the quantity that the dimensions lie along: "frequency (Hz)"; "" for a single dimension
    centres : float [dimensions]
        where on it each dimension lies, rising
    """

    values: str
    dimension: str
    centres: np.ndarray


def describe(name: str, settings: Mapping[str, Any], *, dimensions: int) -> Description:
    """What a feature's numbers are, as its module says; if it says nothing, they are numbered.

    Parameters
    ----------
    name : str
        of the feature, for errors
    settings : mapping
        its `_target_` and what that was called with
    dimensions : int
        of its cache

    Raises
    ------
    ValueError
        if the module describes another number of dimensions
    """
    module, bound = _bound(settings)
    if not hasattr(module, "describe"):
        return Description("value", "dimension", np.arange(dimensions))
    found = module.describe(**bound)
    if len(found.centres) != dimensions:
        got = f"got {dimensions} dimensions in its cache"
        raise ValueError(f"{name}: {got}, want {len(found.centres)} as its settings say")
    return found


def warper(settings: Mapping[str, Any]) -> Callable[[float], np.ndarray] | None:
    """How a feature changes where all frequencies of a voice are multiplied by a factor.

    Parameters
    ----------
    settings : mapping
        the feature's `_target_` and what that was called with

    Returns
    -------
    callable or None
        the factor -> float [dimensions, dimensions], what to multiply a frame by from the left;
        None if the feature has no frequencies
    """
    module, bound = _bound(settings)
    if hasattr(module, "warper"):
        return module.warper(**bound)
    if hasattr(module, "describe"):
        found = module.describe(**bound)
        if found.dimension == FREQUENCY:
            return lambda factor: warp_bands(found.centres, factor=factor)
    return None


def warp_bands(centres: np.ndarray, *, factor: float) -> np.ndarray:
    """Interpolation of each band at its frequency divided by a factor; beyond the ends, the end.

    Parameters
    ----------
    centres : float [bands]
        in Hz, rising
    factor : float
        over 0

    Returns
    -------
    float [bands, bands]
        rows sum to 1
    """
    numbers = np.arange(len(centres))
    place = np.interp(centres / factor, centres, numbers)  # between which bands it reads
    return np.maximum(1 - np.abs(place[:, None] - numbers), 0)


def _bound(settings: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A feature's module, and its settings without the `_target_`."""
    bound = {key: value for key, value in settings.items() if key != "_target_"}
    return import_module(settings["_target_"].rpartition(".")[0]), bound
