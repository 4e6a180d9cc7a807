"""Protocol `speaker`: speakers shared out over a number of folds."""

from __future__ import annotations

import numpy as np
import pandas as pd

from stages.splits.folds import group_folds, tested_once


def assign(clips: pd.DataFrame, *, folds: int, seed: int) -> np.ndarray:
    """Share speakers out so that each fold has about the same clips of every corpus and label.

    Parameters
    ----------
    clips : DataFrame
        clean clips with columns corpus, speaker, label
    folds : int
        wanted; no more than there are speakers are made
    seed : int
        of the shuffle

    Returns
    -------
    str [clips, folds]
        see stages.splits.folds.tested_once

    Raises
    ------
    ValueError
        if there are fewer than two speakers or folds
    """
    return tested_once(group_folds(clips, column="speaker", folds=folds, seed=seed))
