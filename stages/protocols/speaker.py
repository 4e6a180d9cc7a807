"""Protocol `speaker`: speakers shared out over a number of folds."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

log = logging.getLogger(__name__)


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
    int [clips]
        the fold in which each clip is tested, from 0

    Raises
    ------
    ValueError
        if there are fewer than two speakers or folds
    """
    speakers = clips["speaker"].nunique()
    if speakers < 2 or folds < 2:
        raise ValueError(
            f"split speaker: got {speakers} speakers and folds={folds}, want at least 2 of both"
        )
    if folds > speakers:
        log.warning("split speaker: %d folds for %d speakers, not %d", speakers, speakers, folds)
    kind = clips["corpus"] + "/" + clips["label"]
    splitter = StratifiedGroupKFold(min(folds, speakers), shuffle=True, random_state=seed)
    fold = np.zeros(len(clips), dtype=np.int64)
    for number, (_, test) in enumerate(splitter.split(clips, kind, groups=clips["speaker"])):
        fold[test] = number
    return fold
