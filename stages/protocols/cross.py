"""Protocol `cross`: train on one corpus, test on each of the others."""

from __future__ import annotations

import numpy as np
import pandas as pd


def assign(clips: pd.DataFrame) -> np.ndarray:
    """Train on each corpus alone in a fold of its own, in the order of their names.

    Each clip is tested once for each other corpus.

    Parameters
    ----------
    clips : DataFrame
        clean clips with a column corpus

    Returns
    -------
    str [clips, folds]
        train for the corpus of the fold, test for all others

    Raises
    ------
    ValueError
        if the clips are all from one corpus
    """
    corpus, corpora = pd.factorize(clips["corpus"], sort=True)
    if len(corpora) < 2:
        raise ValueError(f"split cross: got the corpora {list(corpora)}, want at least 2")
    return np.where(corpus[:, None] == np.arange(len(corpora)), "train", "test")
