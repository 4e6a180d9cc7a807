"""Protocol `ravdess6`: the six folds of speakers used in published work on RAVDESS."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stages.splits.assignment import tested_once


def assign(clips: pd.DataFrame, *, speakers: Sequence[Sequence[int]]) -> np.ndarray:
    """Test each RAVDESS actor in the fold that lists them.

    Parameters
    ----------
    clips : DataFrame
        clean clips with columns corpus, speaker
    speakers : sequence of sequence of int
        the numbers of the actors in each fold

    Returns
    -------
    str [clips, folds]
        see stages.splits.assignment.tested_once

    Raises
    ------
    ValueError
        if a speaker is in no fold, or an actor in several

    References
    ----------
    EmoBox: Multilingual Multi-corpus Speech Emotion Recognition Toolkit and Benchmark,
    Interspeech 2024
    """
    listed = [actor for fold in speakers for actor in fold]
    if twice := sorted({actor for actor in listed if listed.count(actor) > 1}):
        raise ValueError(
            f"split.protocol.speakers: got the actors {twice} in several folds, want each in one"
        )
    folds = {f"ravdess/{actor:02}": i for i, fold in enumerate(speakers) for actor in fold}
    if unknown := sorted(set(clips["speaker"]) - set(folds)):
        raise ValueError(
            f"split ravdess6: got the speakers {', '.join(unknown[:5])}, want only the 24 of "
            "RAVDESS: add -S 'corpora=[ravdess]'"
        )
    # Renumber the folds, so that a partial corpus has no empty fold.
    return tested_once(pd.factorize(clips["speaker"].map(folds), sort=True)[0])
