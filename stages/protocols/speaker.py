"""Protocol `speaker`: speakers held out in folds."""

from __future__ import annotations

import numpy as np
import pandas as pd

from stages.splits.assignment import group_folds, tested_once


def assign(clips: pd.DataFrame, *, folds: int, seed: int) -> np.ndarray:
    """Assign whole speakers to folds, stratified by corpus and label.

    Parameters
    ----------
    clips : DataFrame
        clean clips with columns corpus, speaker, label
    folds : int
        number of folds wanted; there are at most as many as speakers
    seed : int
        of the shuffle

    Returns
    -------
    str [clips, folds]
        see stages.splits.assignment.tested_once

    Raises
    ------
    ValueError
        if there are fewer than two speakers or folds
    """
    return tested_once(group_folds(clips, column="speaker", folds=folds, seed=seed))
