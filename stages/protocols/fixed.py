"""Protocol `fixed`: one fold, its test and validation speakers listed."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

log = logging.getLogger(__name__)


def assign(
    clips: pd.DataFrame, *, speakers: Mapping[str, Mapping[str, Sequence[str]]]
) -> np.ndarray:
    """Test and validate by the listed speakers, train on all others.

    Parameters
    ----------
    clips : DataFrame
        clean clips with columns corpus, speaker
    speakers : lists of speakers by corpus and part, `validation` and `test`
        as in the clip table, without the corpus; a list may be empty

    Returns
    -------
    str [clips, 1]
        one fold

    Raises
    ------
    ValueError
        naming a corpus without lists, speakers that stand in both lists, or a corpus that has none
        of its test speakers
    """
    if unlisted := sorted(set(clips["corpus"]) - set(speakers)):
        raise ValueError(
            f"split fixed: got no speakers of {', '.join(unlisted)}, want lists in "
            f"split.protocol.speakers, or only the corpora {', '.join(speakers)}"
        )
    parts = pd.Series("train", index=clips.index)
    for corpus in sorted(set(clips["corpus"])):
        lists = {
            part: [f"{corpus}/{name}" for name in speakers[corpus][part]]
            for part in ("validation", "test")
        }
        if both := sorted(set(lists["validation"]) & set(lists["test"])):
            raise ValueError(f"split fixed: {', '.join(both)} stand in validation and test")
        present = set(clips["speaker"])
        if not present & set(lists["test"]):
            raise ValueError(
                f"split fixed: {corpus} has none of its test speakers {', '.join(lists['test'])}"
            )
        for part, names in lists.items():
            if lacking := [name for name in names if name not in present]:
                log.warning("split fixed: no clip of the %s speakers %s", part, ", ".join(lacking))
            parts[clips["speaker"].isin(names)] = part
    return parts.to_numpy()[:, None]
