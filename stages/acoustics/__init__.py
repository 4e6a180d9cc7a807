"""Acoustic features: in each module, the function of its name computes one.

A module may also define `describe`, which takes the settings of that function and says what its
numbers are, and `NEEDS`, which says what it takes beyond requirements.txt: such a feature is
optional, and refuses to run without.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


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
