"""Assignment of clips to folds by a protocol, and the building blocks of protocols."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from stages.clips.names import variant_name
from stages.settings.checks import check, check_range
from stages.splits.leaks import check_rules
from stages.splits.split_table import ALL, PARTS

log = logging.getLogger(__name__)


def split_clips(
    clips: pd.DataFrame,
    *,
    protocol: Callable[[pd.DataFrame], np.ndarray],
    speaker_dependent: bool,
    sentences_held_out: bool,
    validation: float,
    train_only: Sequence[str] = (),
    variants: Literal["with_source", "independent"] = "with_source",
) -> pd.DataFrame:
    """Build the split table from the assignment of a protocol.

    The protocol assigns the first clip of each source; all clips of one source follow it. Where
    several held-out speakers or sentences share a source, as people who talk at once, each has a
    first clip, and a fold that tests one of them leaves out the training clips of the others.
    Variants are trained on in the folds that train on their source; they never validate and are
    never tested. If variants are independent, the protocol assigns each of them like a clip with a
    source of its own.

    In a fold without validation clips from the protocol, a fraction of the training clips
    validates: whole speakers, unless the protocol is speaker-dependent or trains on only one
    speaker; in a speaker-dependent protocol that holds sentences out, whole sentences.

    Parameters
    ----------
    clips : DataFrame
        labelled clips
    protocol : callable
        takes clips, one per source, and returns their parts, str [clips, folds], of PARTS; its
        settings are bound. The clips are clean, unless variants are independent.
    speaker_dependent : bool
        whether training and test may share speakers
    sentences_held_out : bool
        whether training and test must not share sentences
    validation : float
        fraction of the training clips, at most 0.5; 0: no clip validates
    train_only : sequence of str
        corpora that the protocol does not assign: their clips train in every fold, and neither
        validate nor are tested
    variants : with_source or independent
        independent variants leak, so the protocol must be speaker-dependent and must not hold
        sentences out

    Returns
    -------
    DataFrame
        the split table; its last column, `all`, is for the job that trains on every clip

    Raises
    ------
    ValueError
        if `variants`, `validation` or `train_only` is out of range, or if `check_parts` refuses the
        assignment
    """
    check_rules(
        speaker_dependent=speaker_dependent,
        sentences_held_out=sentences_held_out,
        variants=variants,
    )
    check_range("split.validation", validation, low=0, high=0.5)
    held_out = {"speaker": not speaker_dependent, "sentence": sentences_held_out}
    columns = [column for column, out in held_out.items() if out]
    unit = clips["source"]
    for column in columns:
        unit = unit + "|" + clips[column]
    if variants == "independent":
        unit = variant_name(unit, clips["variant"])
    clips = clips.assign(unit=unit)
    assigned = clips if variants == "independent" else clips[clips["variant"] == "clean"]
    firsts = assigned.drop_duplicates("unit", ignore_index=True)
    helps = firsts["corpus"].isin(train_only)
    known = list(firsts["corpus"].unique())
    fine = set(train_only) <= set(known) and not helps.all()
    check("split.train_only", list(train_only), fine, f"some of {known}, but not all")
    helpers, firsts = firsts[helps], firsts[~helps].reset_index(drop=True)
    table = check_parts(protocol(firsts), clips=firsts["clip"])
    parts = {str(fold): part for fold, part in enumerate(table.T)}
    parts[ALL] = np.full(len(firsts), "train", dtype=object)
    for part in parts.values():
        training = firsts[part == "train"]
        if validation and "validation" not in part:
            group = columns[0] if columns else None
            chosen = _choose_validation(training, column=group, fraction=validation)
            part[training.index[chosen]] = "validation"
    helping = pd.DataFrame({"unit": helpers["unit"]} | dict.fromkeys(parts, "train"))
    units = pd.concat([pd.DataFrame({"unit": firsts["unit"]} | parts), helping])
    split = clips[["clip", "label", "unit"]].merge(units, on="unit")
    # Among Python's own strings, as pandas converts all of Arrow's one by one.
    only_trains = ~split["clip"].astype(object).isin(assigned["clip"].astype(object))
    left_out = only_trains.to_numpy()[:, None] & (split[list(parts)] != "train")
    split[list(parts)] = split[list(parts)].mask(left_out, "")
    if columns and clips["unit"].nunique() > clips["source"].nunique():
        split[list(parts)] = _without_shared(split[list(parts)], source=clips["source"])
    return split.drop(columns="unit").sort_values("clip", ignore_index=True)


def _without_shared(parts: pd.DataFrame, *, source: pd.Series) -> pd.DataFrame:
    """Leave out the clips that share their source with a clip on the other side of a fold.

    Tested clips stay, and validating ones rather than training ones.
    """
    kept = parts
    for above, below in (("test", ["validation", "train"]), ("validation", ["train"])):
        shared = (kept == above).groupby(source.to_numpy()).transform("any")
        kept = kept.mask(shared & kept.isin(below), "")
    if count := int((kept != parts).any(axis=1).sum()):
        log.warning(
            "split: %d clips share sound with clips on the other side of a fold, and do not train "
            "in it",
            count,
        )
    return kept


def check_parts(parts: np.ndarray, *, clips: pd.Series) -> np.ndarray:
    """Check that the assignment of a protocol can be trained and its predictions pooled.

    Parameters
    ----------
    parts : str [clips, folds]
    clips : Series of str [clips]
        names of the clips

    Returns
    -------
    object [clips, folds]
        a copy of the parts that may be changed

    Raises
    ------
    ValueError
        if the parts have another shape or other values; if a fold trains on no clip or tests none;
        if a clip is tested in fewer folds than others that are tested, because it would have less
        weight
    """
    parts = np.array(parts, dtype=object)
    known = tuple(part for part in PARTS if part != "enrolment")
    strange = set(parts.flat) - set(known)
    if parts.ndim != 2 or len(parts) != len(clips) or not parts.size or strange:
        raise ValueError(
            f"split.protocol: got an array {list(parts.shape)} with {sorted(strange)}, "
            f"want [{len(clips)} clips, folds] of {known}"
        )
    for fold, part in enumerate(parts.T):
        for side in ("train", "test"):
            if side not in part:
                raise ValueError(f"split: fold {fold}: got no {side} clip, want at least one")
    tested = (parts == "test").sum(axis=1)
    uneven = (tested > 0) & (tested != tested.max())
    if uneven.any():
        first = uneven.argmax()
        raise ValueError(
            f"split: {clips.iloc[first]} is tested in {tested[first]} folds, other clips in "
            f"{tested.max()}; want all tested clips in as many folds"
        )
    return parts


def _choose_validation(
    training: pd.DataFrame, *, column: str | None, fraction: float
) -> np.ndarray:
    """Choose the positions of the training clips that validate.

    They are whole groups by `column`, speakers or sentences, or any clips if it is None.
    """
    groups = training[column] if column and training[column].nunique() > 1 else None
    count = max(2, round(1 / fraction))
    pieces = stratified_pieces(training, count=count, groups=groups, seed=0)
    # Groups differ in size: take the piece nearest to the fraction.
    return min(pieces, key=lambda piece: abs(len(piece) / len(training) - fraction))


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
    # Takes longer to import than all else here, and not every protocol draws.
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

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
