"""Protocol `random`: clips shared out at random, speakers on both sides."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold


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
    int [clips]
        the fold in which each clip is tested, from 0

    Raises
    ------
    ValueError
        if there are fewer clips than folds
    """
    kind = clips["corpus"] + "/" + clips["label"]
    fold = np.zeros(len(clips), dtype=np.int64)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for number, (_, test) in enumerate(splitter.split(clips, kind)):
        fold[test] = number
    return fold
