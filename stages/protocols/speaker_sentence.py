"""Protocol `speaker_sentence`: neither speaker nor sentence of a test clip is trained on."""

from __future__ import annotations

import numpy as np
import pandas as pd

from stages.splits.folds import group_folds


def assign(
    clips: pd.DataFrame, *, speaker_folds: int, sentence_folds: int, seed: int
) -> np.ndarray:
    """Cross folds of speakers with folds of sentences; each clip is tested in one crossing.

    Left out of a fold are the test speakers with other sentences, the test sentences by other
    speakers, and everywhere the clips whose sentence is unknown. Training is smaller for it: of
    5 by 3 folds it has 4/5 of the speakers with 2/3 of the sentences, about half of the clips.

    Parameters
    ----------
    clips : DataFrame
        clean clips with columns corpus, speaker, sentence, label
    speaker_folds, sentence_folds : int
        wanted; no more than there are speakers and sentences are made
    seed : int
        of the shuffles

    Returns
    -------
    str [clips, folds]
        crossings that have no test clip are no fold

    Raises
    ------
    ValueError
        naming corpora of which no sentence is known; if there are fewer than two speakers,
        sentences, or folds of either
    """
    voice = group_folds(clips, column="speaker", folds=speaker_folds, seed=seed)
    text = group_folds(clips, column="sentence", folds=sentence_folds, seed=seed)
    parts = []
    for fold in np.unique(np.stack([voice, text], axis=1)[text >= 0], axis=0):
        same_voice, same_text = voice == fold[0], text == fold[1]
        train = ~same_voice & ~same_text & (text >= 0)
        parts.append(np.select([same_voice & same_text, train], ["test", "train"], ""))
    return np.stack(parts, axis=1)
