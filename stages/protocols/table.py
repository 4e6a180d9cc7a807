"""Protocol `table`: the folds that corpora bring along, such as in the column `fold` of a table."""

from __future__ import annotations

import logging
import re

import numpy as np
import pandas as pd

from stages.sources.spelling import identity

log = logging.getLogger(__name__)
_SIDES = {"train", "training", "test", "testing", "validation", "valid", "val", "dev"}


def assign(clips: pd.DataFrame) -> np.ndarray:
    """Test the clips of each value of the column `corpus_fold` in a fold of their own.

    Spellings of one value, such as 7, 07 and 7.0, are one fold, in all corpora. Clips without a
    value train in every fold and are never tested. Whether speakers are held out is up to the
    corpora.

    Parameters
    ----------
    clips : DataFrame
        clean clips with columns corpus, speaker, corpus_fold

    Returns
    -------
    str [clips, folds]
        test or train, the folds in the order of their values, numbers by size

    Raises
    ------
    ValueError
        if a corpus has no folds, if there are fewer than two, or if values name sides, such as
        train and test, instead of folds
    """
    values = clips["corpus_fold"].map(identity)
    if without := sorted(set(clips["corpus"]) - set(clips.loc[values != "", "corpus"])):
        raise ValueError(
            f"split table: got no folds for {', '.join(without)}, want a column fold in its table "
            "of files, which the corpus `table` reads; or another split; or the corpus in "
            "split.train_only, beside one with folds"
        )
    names = sorted(set(values) - {""}, key=_natural)
    if sides := [name for name in names if name in _SIDES]:
        raise ValueError(
            f"split table: column fold: got {', '.join(sides)}, want numbers or names of folds, "
            "each of which is tested once; for one list of test speakers, split=fixed"
        )
    if len(names) < 2:
        raise ValueError(
            f"split table: column fold: got {names[0]} alone, want at least 2 folds, each tested "
            "on a model of the others; for one list of test speakers, split=fixed"
        )
    log.info("split table: %s", ", ".join(f"fold {i} tests {name}" for i, name in enumerate(names)))
    if unassigned := int((values == "").sum()):
        log.warning(
            "split table: %d clips without a fold train in every fold, and are never tested",
            unassigned,
        )
    several = values.groupby(clips["speaker"]).nunique()
    if shared := sorted(several.index[several > 1]):
        log.warning(
            "split table: %d speakers are in several folds, such as %s: give each speaker one "
            "fold, or add -S split.speaker_dependent=true, and every figure says so",
            len(shared),
            ", ".join(shared[:3]),
        )
    return np.where(values.to_numpy()[:, None] == np.array(names), "test", "train")


def _natural(name: str) -> list[str | int]:
    """Key by which fold2 comes before fold10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
