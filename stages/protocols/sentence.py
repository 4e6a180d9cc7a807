"""Protocol `sentence`: sentences shared out over a number of folds, speakers on both sides."""

from __future__ import annotations

import numpy as np
import pandas as pd

from stages.splits.folds import group_folds, tested_once


def assign(clips: pd.DataFrame, *, folds: int, seed: int) -> np.ndarray:
    """Share sentences out so that each fold has about the same clips of every corpus and label.

    Speaker-dependent: test speakers are also trained on, with other sentences. Clips whose sentence
    is unknown can be proven to be held out of nothing: they are neither trained on nor tested.

    Parameters
    ----------
    clips : DataFrame
        clean clips with columns corpus, sentence, label
    folds : int
        wanted; no more than there are sentences are made
    seed : int
        of the shuffle

    Returns
    -------
    str [clips, folds]
        see stages.splits.folds.tested_once; "" in every fold where the sentence is unknown

    Raises
    ------
    ValueError
        naming corpora of which no sentence is known; if there are fewer than two sentences or folds
    """
    fold = group_folds(clips, column="sentence", folds=folds, seed=seed)
    return np.where(fold[:, None] < 0, "", tested_once(fold))
