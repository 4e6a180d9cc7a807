"""Protocol `random`: clips shared out at random, speakers on both sides."""

from __future__ import annotations

import numpy as np
import pandas as pd

from stages.splits.folds import share_out, tested_once


def assign(clips: pd.DataFrame, *, folds: int, seed: int) -> np.ndarray:
    """Share clips out so that each fold has about the same number of every corpus and label.

    Speaker-dependent: every test speaker is also trained on.

    Parameters
    ----------
    clips : DataFrame
        clean clips with columns corpus, label
    folds, seed : int
        how many; of the shuffle

    Returns
    -------
    str [clips, folds]
        see stages.splits.folds.tested_once

    Raises
    ------
    ValueError
        if there are fewer than two clips or folds
    """
    fold = np.zeros(len(clips), dtype=np.int64)
    for number, piece in enumerate(share_out(clips, pieces=folds, groups=None, seed=seed)):
        fold[piece] = number
    return tested_once(fold)
