"""Protocol `random`: clips assigned to folds at random, with speakers in training and test."""

from __future__ import annotations

import numpy as np
import pandas as pd

from stages.splits.assignment import stratified_pieces, tested_once


def assign(clips: pd.DataFrame, *, folds: int, seed: int) -> np.ndarray:
    """Assign clips to folds at random, stratified by corpus and label.

    The protocol is speaker-dependent: test speakers are also trained on.

    Parameters
    ----------
    clips : DataFrame
        clean clips with columns corpus, label
    folds : int
        number of folds
    seed : int
        of the shuffle

    Returns
    -------
    str [clips, folds]
        see stages.splits.assignment.tested_once

    Raises
    ------
    ValueError
        if there are fewer than two clips or folds
    """
    fold = np.zeros(len(clips), dtype=np.int64)
    pieces = stratified_pieces(clips, count=folds, groups=None, seed=seed)
    for number, positions in enumerate(pieces):
        fold[positions] = number
    return tested_once(fold)
