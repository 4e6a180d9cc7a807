"""Protocol `cross`: train on one corpus, test on each of the others."""

from __future__ import annotations

import numpy as np
import pandas as pd


def assign(clips: pd.DataFrame) -> np.ndarray:
    """Give each corpus a fold in which it alone is trained on, in the order of their names.

    Each clip is tested in as many folds as there are other corpora.

    Parameters
    ----------
    clips : DataFrame
        clean clips with a column corpus

    Returns
    -------
    str [clips, folds]
        train for the fold's own corpus, test for all others

    Raises
    ------
    ValueError
        if there is only one corpus
    """
    corpus, corpora = pd.factorize(clips["corpus"], sort=True)
    if len(corpora) < 2:
        raise ValueError(f"split cross: got the corpora {list(corpora)}, want at least 2")
    return np.where(corpus[:, None] == np.arange(len(corpora)), "train", "test")
