"""From emotions to the labels of a label set."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pandas as pd

from stages.clips.clip_table import EMOTIONS

log = logging.getLogger(__name__)


def label_clips(
    clips: pd.DataFrame, *, name: str, mapping: Mapping[str, str | None]
) -> pd.DataFrame:
    """Map emotions to the label set; leave out, and count, what it does not hold.

    Parameters
    ----------
    clips : DataFrame
        a clip table
    name : str
        of the label set
    mapping : common emotion -> label, or None for one that is left out

    Returns
    -------
    DataFrame
        the usable clips that have a label, with a column `label`

    Raises
    ------
    ValueError
        naming emotions outside the common vocabulary; if fewer than two labels are left
    """
    if unknown := [emotion for emotion in mapping if emotion not in EMOTIONS]:
        raise ValueError(f"labels {name}: {unknown} are not of the vocabulary {EMOTIONS}")
    clips = clips[clips["excluded"] == ""]
    labels = clips["emotion"].map({k: v for k, v in mapping.items() if v is not None})
    log.info("labels %s: %s", name, _losses(clips, lost=labels.isna()))
    clips = clips.assign(label=labels)[labels.notna()].reset_index(drop=True)
    if clips["label"].nunique() < 2:
        raise ValueError(
            f"labels {name}: got {sorted(set(clips['label']))} in the clips, want at least 2"
        )
    return clips


def _losses(clips: pd.DataFrame, *, lost: pd.Series) -> str:
    """What each corpus loses, in words; variants do not count."""
    clean = clips["variant"] == "clean"
    parts = []
    for corpus, emotions in clips[clean].groupby("corpus")["emotion"]:
        counts = emotions[lost[emotions.index]].value_counts().sort_index()
        named = ", ".join(f"{emotion} {number}" for emotion, number in counts.items())
        named = f" ({named})" if named else ""
        parts.append(f"{corpus} loses {counts.sum()} of {len(emotions)} clips{named}")
    return "; ".join(parts)


def label_order(mapping: Mapping[str, str | None], present: pd.Series) -> list[str]:
    """The labels that occur, in the order of their label set."""
    occurring = set(present)
    return [label for label in dict.fromkeys(mapping.values()) if label in occurring]
