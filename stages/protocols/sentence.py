"""Protocol `sentence`: sentences held out in folds, with speakers in training and test."""

from __future__ import annotations

import numpy as np
import pandas as pd

from stages.splits.assignment import group_folds, tested_once


def assign(clips: pd.DataFrame, *, folds: int, seed: int) -> np.ndarray:
    """Assign whole sentences to folds, stratified by corpus and label.

    The protocol is speaker-dependent: test speakers are also trained on, with other sentences. A
    clip without a known sentence cannot be proven to be held out, so it is neither trained on nor
    tested.

    Parameters
    ----------
    clips : DataFrame
        clean clips with columns corpus, sentence, label
    folds : int
        number of folds wanted; there are at most as many as sentences
    seed : int
        of the shuffle

    Returns
    -------
    str [clips, folds]
        see stages.splits.assignment.tested_once; "" in every fold if the sentence is unknown

    Raises
    ------
    ValueError
        if no sentence of some corpus is known, or if there are fewer than two sentences or folds
    """
    fold = group_folds(clips, column="sentence", folds=folds, seed=seed)
    return np.where(fold[:, None] < 0, "", tested_once(fold))
