"""Protocol `ravdess6`: the speaker folds that published work on RAVDESS uses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stages.splits.folds import tested_once


def assign(clips: pd.DataFrame, *, speakers: Sequence[Sequence[int]]) -> np.ndarray:
    """Give each RAVDESS actor the fold that lists them.

    Parameters
    ----------
    clips : DataFrame
        clean clips with columns corpus, speaker
    speakers : lists of actor numbers
        one list per fold

    Returns
    -------
    str [clips, folds]
        see stages.splits.folds.tested_once

    Raises
    ------
    ValueError
        naming corpora or speakers that stand in no fold, and actors that stand in several

    References
    ----------
    EmoBox: Multilingual Multi-corpus Speech Emotion Recognition Toolkit and Benchmark,
    Interspeech 2024
    """
    listed = [actor for fold in speakers for actor in fold]
    if twice := sorted({actor for actor in listed if listed.count(actor) > 1}):
        raise ValueError(f"split ravdess6: actors {twice} stand in several folds")
    folds = {f"ravdess/{actor:02}": i for i, fold in enumerate(speakers) for actor in fold}
    if unknown := sorted(set(clips["speaker"]) - set(folds)):
        raise ValueError(
            f"split ravdess6: got the speakers {', '.join(unknown[:5])}, "
            "want RAVDESS's 24 only: add -S 'corpora=[ravdess]'"
        )
    # Numbered anew, so that a part of the corpus has no empty fold.
    return tested_once(pd.factorize(clips["speaker"].map(folds), sort=True)[0])
