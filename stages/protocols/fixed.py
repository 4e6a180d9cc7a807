"""Protocol `fixed`: one fold with listed test and validation speakers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from stages.sources.spelling import identity

log = logging.getLogger(__name__)


def assign(
    clips: pd.DataFrame, *, speakers: Mapping[str, Mapping[str, Sequence[str]]]
) -> np.ndarray:
    """Test and validate on the listed speakers, train on all others.

    Parameters
    ----------
    clips : DataFrame
        clean clips with columns corpus, speaker
    speakers : mapping of corpus to lists of str by part, `validation` and `test`
        speakers as in the clip table, without the corpus, in any spelling; the validation list may
        be empty

    Returns
    -------
    str [clips, 1]
        one fold

    Raises
    ------
    ValueError
        if a corpus has no lists, if a speaker is in both lists, or if a corpus has none of its test
        speakers
    """
    if unlisted := sorted(set(clips["corpus"]) - set(speakers)):
        raise ValueError(
            f"split.protocol.speakers: got no lists for {', '.join(unlisted)}, want lists for "
            f"every corpus, or only the corpora {', '.join(speakers)}"
        )
    parts = pd.Series("train", index=clips.index)
    for corpus in sorted(set(clips["corpus"])):
        known = {
            identity(speaker.removeprefix(f"{corpus}/")): speaker
            for speaker in clips.loc[clips["corpus"] == corpus, "speaker"].unique()
        }
        lists = {
            part: [
                known.get(identity(str(name)), f"{corpus}/{name}")
                for name in speakers[corpus][part]
            ]
            for part in ("validation", "test")
        }
        if both := sorted(set(lists["validation"]) & set(lists["test"])):
            raise ValueError(
                f"split.protocol.speakers: got {', '.join(both)} in both lists, want each speaker "
                "in validation or test"
            )
        present = set(clips["speaker"])
        if not present & set(lists["test"]):
            raise ValueError(
                f"split.protocol.speakers: {corpus} has none of the test speakers "
                f"{', '.join(lists['test'])}, want at least one"
            )
        for part, names in lists.items():
            if missing := [name for name in names if name not in present]:
                log.warning("split fixed: no clip of the %s speakers %s", part, ", ".join(missing))
            parts[clips["speaker"].isin(names)] = part
    return parts.to_numpy()[:, None]
