"""From a protocol's folds to the parts training, validation and test.

A split table has one row per clip that is used: `clip`, `label`, and one column per fold (`0`, `1`,
...) that says what the clip is there: train, validation, test, or "" for neither.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from stages.clips.names import variant_name
from stages.running.outputs import complete

log = logging.getLogger(__name__)
PARTS = ("train", "validation", "test", "")
#: What of a split's settings says what both of its sides may share.
RULES = ("speaker_dependent", "sentences_held_out", "variants")
#: The fold of the job that trains on every clip and tests on none.
ALL = "all"


def split_clips(
    clips: pd.DataFrame,
    *,
    protocol: Callable[[pd.DataFrame], np.ndarray],
    speaker_dependent: bool,
    sentences_held_out: bool,
    validation: float,
    variants: Literal["with_source", "independent"] = "with_source",
) -> pd.DataFrame:
    """Say of every clip what it is in every fold.

    The protocol says what each clip is. In a fold for which it brings no validation clips, part of
    the training side validates: by whole speakers, unless the protocol is speaker-dependent (then
    by whole sentences, if it holds those out) or only one speaker is trained on. Clips of one
    source stand together, whatever the protocol: it is asked about the first of them. Variants are
    trained on where their source is, and never validate or test; only if they are independent, each
    is one more clip for the protocol, as if it did not come from another one.

    Parameters
    ----------
    clips : DataFrame
        labelled clips
    protocol : clips, one per source -> their parts, str [clips, folds], of PARTS
        settings already bound; asked about clean clips, unless variants are independent
    speaker_dependent : bool
        whether the protocol lets speakers stand on both sides
    sentences_held_out : bool
        whether the protocol lets no sentence stand on both sides
    validation : float
        share of the training side, at most .5; 0: all of it is trained on
    variants : with_source or independent
        the latter leaks, so the protocol must be speaker-dependent and hold no sentence out

    Returns
    -------
    DataFrame
        a split table, with a last column `all`: the job that trains on every fold

    Raises
    ------
    ValueError
        if `variants` or `validation` is something else, or the protocol's answer no such table or
        one that could not be pooled honestly
    """
    check_rules(
        speaker_dependent=speaker_dependent,
        sentences_held_out=sentences_held_out,
        variants=variants,
    )
    if not 0 <= validation <= 0.5:
        raise ValueError(f"split.validation: got {validation}, want at least 0 and at most 0.5")
    together = clips["source"]
    if variants == "independent":
        together = variant_name(together, clips["variant"])
    clips = clips.assign(together=together)
    asked = clips if variants == "independent" else clips[clips["variant"] == "clean"]
    firsts = asked.drop_duplicates("together", ignore_index=True)
    table = check_parts(protocol(firsts), clips=firsts["clip"])
    parts = {str(fold): part for fold, part in enumerate(table.T)}
    parts[ALL] = np.full(len(firsts), "train", dtype=object)
    by = "speaker" if not speaker_dependent else "sentence" if sentences_held_out else None
    for part in parts.values():
        side = firsts[part == "train"]
        if validation and "validation" not in part:
            chosen = _choose_validation(side, by=by, share=validation)
            part[side.index[chosen]] = "validation"
    answer = pd.DataFrame({"together": firsts["together"]} | parts)
    split = clips[["clip", "label", "together"]].merge(answer, on="together")
    for_training = ~split["clip"].isin(asked["clip"]).to_numpy()[:, None]
    dropped = for_training & (split[list(parts)] != "train")
    split[list(parts)] = split[list(parts)].mask(dropped, "")
    split = split.drop(columns="together")
    return split.sort_values("clip", ignore_index=True)


def check_rules(*, speaker_dependent: bool, sentences_held_out: bool, variants: str) -> None:
    """Refuse variants that stand by themselves where a protocol promises to hold something out.

    Raises
    ------
    ValueError
        if `variants` is neither with_source nor independent, or the latter where it must not be
    """
    if variants not in ("with_source", "independent"):
        raise ValueError(f"split.variants: got {variants!r}, want with_source or independent")
    if variants == "independent" and (sentences_held_out or not speaker_dependent):
        raise ValueError(
            "split.variants: got independent, want with_source: this protocol holds speakers or "
            "sentences out, and variants of one clip would stand on both sides; split=random lets "
            "them"
        )


def tested_once(fold: np.ndarray) -> np.ndarray:
    """What a protocol answers that tests each clip in one fold and trains on it in all others.

    Parameters
    ----------
    fold : int [clips]
        the fold in which each clip is tested, from 0

    Returns
    -------
    str [clips, folds]
    """
    return np.where(fold[:, None] == np.arange(fold.max() + 1), "test", "train")


def group_folds(clips: pd.DataFrame, *, column: str, folds: int, seed: int) -> np.ndarray:
    """Share groups of clips out so that each fold has about the same of every corpus and label.

    Parameters
    ----------
    clips : DataFrame
        clean clips with columns corpus, label and `column`
    column : str
        speaker or sentence: what stays together
    folds : int
        wanted; no more than there are groups are made
    seed : int
        of the shuffle

    Returns
    -------
    int64 [clips]
        the fold of each clip, from 0; -1 where the group is unknown ("")

    Raises
    ------
    ValueError
        if there are fewer than two groups or folds; naming corpora of which no group is known
    """
    known = (clips[column] != "").to_numpy()
    if blank := sorted(set(clips["corpus"]) - set(clips.loc[known, "corpus"])):
        raise ValueError(
            f"split: no {column} is known of any clip of {', '.join(blank)}; want other corpora, "
            f"or a protocol that holds no {column} out"
        )
    groups = clips.loc[known, column]
    number = groups.nunique()
    if number < 2 or folds < 2:
        raise ValueError(
            f"split: got {number} {column}s and {folds} folds, want at least 2 of both"
        )
    fold = np.full(len(clips), -1)
    pieces = share_out(clips[known], pieces=folds, groups=groups, seed=seed)
    for piece, positions in enumerate(pieces):
        fold[np.flatnonzero(known)[positions]] = piece
    if not known.all():
        log.warning("split: %d clips of unknown %s stand in no fold", (~known).sum(), column)
    if len(pieces) < folds:
        log.warning("split: %d folds for %d %ss, not %d", len(pieces), number, column, folds)
    return fold


def check_parts(parts: np.ndarray, *, clips: pd.Series) -> np.ndarray:
    """Prove that a protocol's answer can be trained on, and its predictions pooled.

    Parameters
    ----------
    parts : str [clips, folds]
    clips : Series of str [clips]

    Returns
    -------
    object [clips, folds]
        the same parts, a copy that may be written to

    Raises
    ------
    ValueError
        naming the fold that trains on no clip or tests none; or a clip that is tested in other than
        as many folds as the others that are tested, and would have another weight than they
    """
    parts = np.array(parts, dtype=object)
    strange = set(parts.flat) - set(PARTS)
    if parts.ndim != 2 or len(parts) != len(clips) or not parts.size or strange:
        raise ValueError(
            f"split: the protocol gave an array {list(parts.shape)} with {sorted(strange)}, "
            f"want [{len(clips)} clips, folds] of {PARTS}"
        )
    for fold, part in enumerate(parts.T):
        for want in ("train", "test"):
            if want not in part:
                raise ValueError(f"split: fold {fold}: no {want} clip, want at least one")
    tested = (parts == "test").sum(axis=1)
    uneven = (tested > 0) & (tested != tested.max())
    if uneven.any():
        first = uneven.argmax()
        raise ValueError(
            f"split: {clips.iloc[first]} is tested in {tested[first]} folds, other clips in "
            f"{tested.max()}; want each in none or in as many as the others"
        )
    return parts


def _choose_validation(side: pd.DataFrame, *, by: str | None, share: float) -> np.ndarray:
    """Positions in a training side that validate: whole speakers or sentences, or any clips."""
    groups = side[by] if by and side[by].nunique() > 1 else None
    pieces = share_out(side, pieces=max(2, round(1 / share)), groups=groups, seed=0)
    # Whole speakers do not come in equal sizes: the piece that is nearest to the share.
    return min(pieces, key=lambda piece: abs(len(piece) / len(side) - share))


def share_out(
    clips: pd.DataFrame, *, pieces: int, groups: pd.Series | None, seed: int
) -> list[np.ndarray]:
    """Share clips out into pieces of about equal numbers of every corpus and label.

    Parameters
    ----------
    clips : DataFrame
        with columns corpus, label
    pieces : int
        wanted; no more are made than there are groups, or clips
    groups : Series or None
        what must stay together, such as the speaker of each clip
    seed : int
        of the shuffle

    Returns
    -------
    list of int64 arrays
        positions of each piece's clips; no piece is empty

    Raises
    ------
    ValueError
        if two pieces cannot be made
    """
    pieces = min(pieces, len(clips) if groups is None else groups.nunique())
    if pieces < 2:
        raise ValueError(f"got {len(clips)} clips, want enough to share out into two pieces")
    kind = clips["corpus"] + "/" + clips["label"]
    if kind.value_counts().max() < pieces:  # too few clips to share out kind by kind
        kind = pd.Series("any", index=clips.index)
    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    with warnings.catch_warnings():
        # Some kinds may still be fewer than the pieces: `leakage` counts what training then lacks.
        warnings.filterwarnings("ignore", message="The least populated class")
        splits = splitter(pieces, shuffle=True, random_state=seed).split(clips, kind, groups)
        return [piece for _, piece in splits if len(piece)]


def folds_of(split: pd.DataFrame) -> list[str]:
    """The columns of a split table that stand for a fold or for the job `all`."""
    return [column for column in split if column not in ("clip", "label")]


def write_split(split: pd.DataFrame, path: str | Path) -> None:
    """Write a split table as CSV."""
    with complete(path) as part:
        split.to_csv(part, index=False, lineterminator="\n")


def read_split(path: str | Path) -> pd.DataFrame:
    """Read a split table.

    Raises
    ------
    ValueError
        naming a fold that holds something else than PARTS
    """
    split = pd.read_csv(path, dtype="str", keep_default_na=False)
    for fold in folds_of(split):
        if strange := set(split[fold]) - set(PARTS):
            raise ValueError(f"{path}: fold {fold}: got {sorted(strange)}, want {PARTS}")
    return split
