"""Protocol `speaker_sentence`: speakers and sentences both held out."""

from __future__ import annotations

import numpy as np
import pandas as pd

from stages.splits.assignment import group_folds


def assign(
    clips: pd.DataFrame, *, speaker_folds: int, sentence_folds: int, seed: int
) -> np.ndarray:
    """Cross folds of speakers with folds of sentences; each clip is tested in one crossing.

    A fold leaves out the test speakers with other sentences and the test sentences by other
    speakers; every fold leaves out the clips without a known sentence. Training is smaller for it:
    with 5 by 3 folds it has 4/5 of the speakers with 2/3 of the sentences, about half of the clips.

    Parameters
    ----------
    clips : DataFrame
        clean clips with columns corpus, speaker, sentence, label
    speaker_folds, sentence_folds : int
        number of folds wanted; there are at most as many as speakers, or sentences
    seed : int
        of the shuffles

    Returns
    -------
    str [clips, folds]
        train, test or "" in each fold; a crossing without a test clip is not a fold

    Raises
    ------
    ValueError
        if no sentence of some corpus is known, or if there are fewer than two speakers, sentences,
        or folds of either
    """
    speaker = group_folds(clips, column="speaker", folds=speaker_folds, seed=seed)
    sentence = group_folds(clips, column="sentence", folds=sentence_folds, seed=seed)
    known = sentence >= 0
    parts = []
    for fold in np.unique(np.stack([speaker, sentence], axis=1)[known], axis=0):
        same_speaker, same_sentence = speaker == fold[0], sentence == fold[1]
        train = ~same_speaker & ~same_sentence & known
        parts.append(np.select([same_speaker & same_sentence, train], ["test", "train"], ""))
    return np.stack(parts, axis=1)
