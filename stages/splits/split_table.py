"""The split table, which says for each fold whether a clip trains, validates or is tested.

It has one row per clip that is used: `clip`, `label`, and one column per fold (`0`, `1`, ...) that
holds train, validation, test, enrolment for a clip of a held-out speaker that is known without its
label and is not scored, or "" for a clip that the fold leaves out.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from stages.running.outputs import complete

PARTS = ("train", "validation", "test", "enrolment", "")
#: The fold of the job that trains on every clip and tests none.
ALL = "all"


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
        if strange := set(split[fold].unique()) - set(PARTS):
            raise ValueError(f"{path}: fold {fold}: got {sorted(strange)}, want {PARTS}")
    return split
