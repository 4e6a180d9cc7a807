"""Acoustic features: each module computes one, in the function of its own name.

A module may import stages.signals, stages.audio, stages.settings and another feature.

A module may also define `describe`, which takes the settings of that function and describes its
dimensions, and these constants. `NEEDS` names requirements beyond requirements.txt; a feature with
NEEDS is optional and raises an error where they are missing. `SAMPLE_RATE` is the only rate that
the feature takes. `ORIGIN` says for the model card whose pre-trained weights the feature applies.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Description(NamedTuple):
    """Quantities and units of a feature, for figures and tables.

    Attributes
    ----------
    values : str
        quantity of the values, with its unit in brackets: "power (dB)"
    dimension : str
        quantity along the dimensions: "frequency (Hz)"; "" for a single dimension
    centres : float [dimensions]
        position of each dimension along that quantity, increasing
    """

    values: str
    dimension: str
    centres: np.ndarray
