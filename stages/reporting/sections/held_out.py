"""What training and test share in each fold, and how each fold was recognised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from stages.reporting.grouped import per_corpus
from stages.reporting.predictions import Predictions
from stages.reporting.run import Run
from stages.reporting.section import Section


def section(run: Run) -> Section:
    """The proof of the split stage, and the figures of each fold."""
    return Section(
        tables={"per_fold": per_fold(run.predictions)},
        words={"leakage": leakage_table(run.leakage)},
    )


def per_fold(predictions: Predictions) -> pd.DataFrame:
    """Compute UA and WA of each fold and tested corpus; see `per_group`."""
    parts = []
    for fold in sorted(predictions.clips["fold"].unique()):
        own = predictions.select((predictions.clips["fold"] == fold).to_numpy())
        table = per_corpus(own)
        table.insert(0, "fold", fold)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def leakage_table(leakage: Mapping[str, Any]) -> pd.DataFrame:
    """One row per fold; lists of names become text, so that an empty one reads "none"."""
    rows = [{key: _words(value) for key, value in fold.items()} for fold in leakage["folds"]]
    return pd.DataFrame(rows).rename(columns=lambda key: key.replace("_", " "))


def _words(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return value
