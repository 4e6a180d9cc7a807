"""The split table, which says for each fold whether a clip trains, validates or is tested.

It has one row per clip that is used: `clip`, `label`, and one column per fold (`0`, `1`, ...) that
holds train, validation, test, or "" for a clip that the fold leaves out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from stages.clips.names import variant_name
from stages.running.outputs import complete
from stages.splits.assignment import stratified_pieces

PARTS = ("train", "validation", "test", "")
#: Settings of a split that say what training and test may share.
RULES = ("speaker_dependent", "sentences_held_out", "variants")
#: The fold of the job that trains on every clip and tests none.
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
    """Build the split table from the assignment of a protocol.

    The protocol assigns the first clip of each source; all clips of one source follow it. Variants
    are trained on in the folds that train on their source; they never validate and are never
    tested. If variants are independent, the protocol assigns each of them like a clip with a source
    of its own.

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
        if `variants` or `validation` is out of range, or if `check_parts` refuses the assignment
    """
    check_rules(
        speaker_dependent=speaker_dependent,
        sentences_held_out=sentences_held_out,
        variants=variants,
    )
    if not 0 <= validation <= 0.5:
        raise ValueError(f"split.validation: got {validation}, want at least 0 and at most 0.5")
    unit = clips["source"]
    if variants == "independent":
        unit = variant_name(unit, clips["variant"])
    clips = clips.assign(unit=unit)
    assigned = clips if variants == "independent" else clips[clips["variant"] == "clean"]
    firsts = assigned.drop_duplicates("unit", ignore_index=True)
    table = check_parts(protocol(firsts), clips=firsts["clip"])
    parts = {str(fold): part for fold, part in enumerate(table.T)}
    parts[ALL] = np.full(len(firsts), "train", dtype=object)
    column = "speaker" if not speaker_dependent else "sentence" if sentences_held_out else None
    for part in parts.values():
        training = firsts[part == "train"]
        if validation and "validation" not in part:
            chosen = _choose_validation(training, column=column, fraction=validation)
            part[training.index[chosen]] = "validation"
    units = pd.DataFrame({"unit": firsts["unit"]} | parts)
    split = clips[["clip", "label", "unit"]].merge(units, on="unit")
    only_trains = ~split["clip"].isin(assigned["clip"]).to_numpy()[:, None]
    left_out = only_trains & (split[list(parts)] != "train")
    split[list(parts)] = split[list(parts)].mask(left_out, "")
    return split.drop(columns="unit").sort_values("clip", ignore_index=True)


def check_rules(*, speaker_dependent: bool, sentences_held_out: bool, variants: str) -> None:
    """Refuse independent variants in a protocol that holds speakers or sentences out.

    Raises
    ------
    ValueError
        also if `variants` is neither with_source nor independent
    """
    if variants not in ("with_source", "independent"):
        raise ValueError(f"split.variants: got {variants!r}, want with_source or independent")
    if variants == "independent" and (sentences_held_out or not speaker_dependent):
        raise ValueError(
            "split.variants: got independent, want with_source: this protocol holds speakers or "
            "sentences out, and variants of one clip would be in training and test; split=random "
            "allows that"
        )


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
    strange = set(parts.flat) - set(PARTS)
    if parts.ndim != 2 or len(parts) != len(clips) or not parts.size or strange:
        raise ValueError(
            f"split.protocol: got an array {list(parts.shape)} with {sorted(strange)}, "
            f"want [{len(clips)} clips, folds] of {PARTS}"
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


def folds_of(split: pd.DataFrame) -> list[str]:
    """List the columns of a split table that are folds, the job `all` among them."""
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
        if a fold holds a value that is not in PARTS
    """
    split = pd.read_csv(path, dtype="str", keep_default_na=False)
    for fold in folds_of(split):
        if strange := set(split[fold]) - set(PARTS):
            raise ValueError(f"{path}: fold {fold}: got {sorted(strange)}, want {PARTS}")
    return split
