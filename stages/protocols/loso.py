"""Protocol `loso`: leave one speaker out."""

from __future__ import annotations

import numpy as np
import pandas as pd

from stages.splits.assignment import tested_once


def assign(clips: pd.DataFrame) -> np.ndarray:
    """Test each speaker in a fold of their own, in the order of their names.

    Parameters
    ----------
    clips : DataFrame
        clean clips with a column speaker

    Returns
    -------
    str [clips, folds]
        see stages.splits.assignment.tested_once

    Raises
    ------
    ValueError
        if the clips are all from one speaker
    """
    fold, speakers = pd.factorize(clips["speaker"], sort=True)
    if len(speakers) < 2:
        raise ValueError(f"split loso: got the speakers {list(speakers)}, want at least 2")
    return tested_once(fold)
