"""Protocol `corpus`: leave one corpus out."""

from __future__ import annotations

import numpy as np
import pandas as pd

from stages.splits.assignment import tested_once


def assign(clips: pd.DataFrame) -> np.ndarray:
    """Test each corpus in a fold of its own, in the order of their names.

    Parameters
    ----------
    clips : DataFrame
        clean clips with a column corpus

    Returns
    -------
    str [clips, folds]
        see stages.splits.assignment.tested_once

    Raises
    ------
    ValueError
        if the clips are all from one corpus
    """
    fold, corpora = pd.factorize(clips["corpus"], sort=True)
    if len(corpora) < 2:
        raise ValueError(f"split corpus: got the corpora {list(corpora)}, want at least 2")
    return tested_once(fold)
