"""What protocols assign clips with: stratified pieces, and folds that keep groups together."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

log = logging.getLogger(__name__)


def tested_once(fold: np.ndarray) -> np.ndarray:
    """Test each clip in one fold and train on it in all others.

    Parameters
    ----------
    fold : int [clips]
        the fold in which each clip is tested, from 0

    Returns
    -------
    str [clips, folds]
        the part of each clip, test or train
    """
    return np.where(fold[:, None] == np.arange(fold.max() + 1), "test", "train")


def group_folds(clips: pd.DataFrame, *, column: str, folds: int, seed: int) -> np.ndarray:
    """Assign each clip to a fold, with whole groups in one fold.

    Folds have about the same number of clips of every corpus and label.

    Parameters
    ----------
    clips : DataFrame
        clean clips with columns corpus, label and `column`
    column : str
        speaker or sentence: what forms a group
    folds : int
        number of folds wanted; there are at most as many as groups
    seed : int
        of the shuffle

    Returns
    -------
    int64 [clips]
        the fold of each clip, from 0; -1 if its group is unknown ("")

    Raises
    ------
    ValueError
        if there are fewer than two groups or folds, or if no group of some corpus is known
    """
    known = (clips[column] != "").to_numpy()
    if unknown := sorted(set(clips["corpus"]) - set(clips.loc[known, "corpus"])):
        raise ValueError(
            f"split: {', '.join(unknown)} has no clip with a known {column}, want other corpora, "
            f"or a protocol that does not hold {column}s out"
        )
    groups = clips.loc[known, column]
    n_groups = groups.nunique()
    if n_groups < 2 or folds < 2:
        raise ValueError(
            f"split: got {n_groups} {column}s and {folds} folds, want at least 2 of both"
        )
    fold = np.full(len(clips), -1)
    pieces = stratified_pieces(clips[known], count=folds, groups=groups, seed=seed)
    for number, positions in enumerate(pieces):
        fold[np.flatnonzero(known)[positions]] = number
    if not known.all():
        log.warning("split: %d clips without a known %s are in no fold", (~known).sum(), column)
    if len(pieces) < folds:
        log.warning(
            "split: got %d folds, as there are %d %ss, want %d",
            len(pieces),
            n_groups,
            column,
            folds,
        )
    return fold


def stratified_pieces(
    clips: pd.DataFrame, *, count: int, groups: pd.Series | None, seed: int
) -> list[np.ndarray]:
    """Divide clips into pieces with about the same number of clips of every corpus and label.

    Parameters
    ----------
    clips : DataFrame
        with columns corpus, label
    count : int
        number of pieces wanted; there are at most as many as groups, or clips
    groups : Series or None
        clips with the same value stay together, such as those of one speaker
    seed : int
        of the shuffle

    Returns
    -------
    list of int64 arrays
        positions of the clips of each piece; no piece is empty

    Raises
    ------
    ValueError
        if there cannot be two pieces
    """
    available = len(clips) if groups is None else groups.nunique()
    if min(count, available) < 2:
        raise ValueError(
            f"split: got {count} folds and {available} clips or groups, want at least 2 of both"
        )
    count = min(count, available)
    stratum = clips["corpus"] + "/" + clips["label"]
    if stratum.value_counts().max() < count:  # too few clips to stratify
        stratum = pd.Series("any", index=clips.index)
    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    with warnings.catch_warnings():
        # Some strata may have fewer clips than pieces; `leakage` reports the labels that training
        # lacks because of it.
        warnings.filterwarnings("ignore", message="The least populated class")
        splits = splitter(count, shuffle=True, random_state=seed).split(clips, stratum, groups)
        return [piece for _, piece in splits if len(piece)]
