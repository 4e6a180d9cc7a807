"""Protocol `loso`: leave one speaker out."""

from __future__ import annotations

import numpy as np
import pandas as pd


def assign(clips: pd.DataFrame) -> np.ndarray:
    """Give each speaker a fold, in the order of their names.

    Parameters
    ----------
    clips : DataFrame
        clean clips with a column speaker

    Returns
    -------
    int [clips]
        the fold in which each clip is tested, from 0

    Raises
    ------
    ValueError
        if there is only one speaker
    """
    fold, speakers = pd.factorize(clips["speaker"], sort=True)
    if len(speakers) < 2:
        raise ValueError(f"split loso: got the speakers {list(speakers)}, want at least 2")
    return fold
