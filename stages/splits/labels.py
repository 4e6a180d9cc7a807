"""The label of each clip: its emotion, mapped to the classes of a label set."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pandas as pd

from stages.running.entry import printable
from stages.settings.checks import check
from stages.sources.vocabulary import EMOTIONS

log = logging.getLogger(__name__)


def label_clips(
    clips: pd.DataFrame, *, name: str, mapping: Mapping[str, str | None]
) -> pd.DataFrame:
    """Label clips, leave out those without a label, and log how many each corpus loses.

    Parameters
    ----------
    clips : DataFrame
        a clip table
    name : str
        of the label set
    mapping : mapping of str to str or None
        emotion of the common vocabulary to label; None leaves the emotion out

    Returns
    -------
    DataFrame
        the usable clips that have a label, with a column `label`

    Raises
    ------
    ValueError
        if an emotion is not in the common vocabulary, if a label cannot name a file, or if the
        clips have fewer than two labels
    """
    check_labels(mapping)
    if unknown := [emotion for emotion in mapping if emotion not in EMOTIONS]:
        raise ValueError(
            f"labels {name}: got {', '.join(unknown)}, want only {', '.join(EMOTIONS)}"
        )
    clips = clips[clips["excluded"] == ""]
    labels = clips["emotion"].map({k: v for k, v in mapping.items() if v is not None})
    log.info("labels %s: %s", name, _losses(clips, lost=labels.isna()))
    clips = clips.assign(label=labels)[labels.notna()].reset_index(drop=True)
    if clips["label"].nunique() < 2:
        raise ValueError(
            f"labels {name}: got {sorted(set(clips['label']))} in the clips, want at least 2"
        )
    return clips


def check_labels(mapping: Mapping[str, str | None]) -> None:
    """Refuse a label that cannot name a file; a ValueError names it."""
    for label in mapping.values():
        text = isinstance(label, str) and label == printable(label)
        fine = label is None or (text and not set(str(label)) & set("/\\"))
        check("labels.map", label, fine, "text on one line without slashes: it names files")


def _losses(clips: pd.DataFrame, *, lost: pd.Series) -> str:
    """Describe how many clips each corpus loses, by emotion; variants are not counted."""
    clean = clips["variant"] == "clean"
    parts = []
    for corpus, emotions in clips[clean].groupby("corpus")["emotion"]:
        counts = emotions[lost[emotions.index]].value_counts().sort_index()
        listed = ", ".join(f"{emotion} {count}" for emotion, count in counts.items())
        listed = f" ({listed})" if listed else ""
        parts.append(f"{corpus} loses {counts.sum()} of {len(emotions)} clips{listed}")
    return "; ".join(parts)


def label_order(mapping: Mapping[str, str | None], present: pd.Series) -> list[str]:
    """List the labels that are present, in the order of their label set."""
    occurring = set(present)
    return [label for label in dict.fromkeys(filter(None, mapping.values())) if label in occurring]
