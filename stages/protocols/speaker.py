"""Protocol `speaker`: speakers shared out over a number of folds."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from stages.clips.folds import share_out, tested_once

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
    str [clips, folds]
        see stages.clips.folds.tested_once

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
    fold = np.zeros(len(clips), dtype=np.int64)
    pieces = share_out(clips, pieces=folds, groups=clips["speaker"], seed=seed)
    for number, piece in enumerate(pieces):
        fold[piece] = number
    if len(pieces) < folds:
        log.warning("split speaker: %d folds for %d speakers, not %d", len(pieces), speakers, folds)
    return tested_once(fold)
