"""The table of degraded clips, which the stage `robustness` writes and the page shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from numpy.typing import NDArray

from stages.reporting.systems import ua_row

COLUMNS = (
    "degradation",
    "level",
    "unit",
    "n_clips",
    "n_speakers",
    "ua",
    "ua_low",
    "ua_high",
    "difference",
    "difference_low",
    "difference_high",
    "interval",
    "protocol",
)
#: Columns that may be empty though they hold numbers.
_NUMBERS = ("level", "difference", "difference_low", "difference_high")


def robustness_table(
    conditions: Sequence[tuple[str, float | None, str]],
    *,
    clips: pd.DataFrame,
    truth: NDArray,
    predicted: NDArray,
    n_classes: int,
    protocol: str,
) -> pd.DataFrame:
    """Unweighted accuracy under each condition, pooled over folds and averaged over seeds.

    Parameters
    ----------
    conditions : degradation, level or None, unit of the level
        the first is the reference: the clips as they are
    clips : DataFrame
        clip, speaker; one row for each fold that holds a clip out
    truth : int [clips]
        index of the actual class
    predicted : int [clips, conditions, seeds]
        index of the predicted class
    n_classes : int
    protocol : str
        in words

    Returns
    -------
    DataFrame
        of COLUMNS, one row per condition. `difference` is to the first row, on the same clips, and
        empty there; `interval` is what the 95 % jackknife intervals leave out in turn
    """
    counts = {"n_clips": clips["clip"].nunique(), "n_speakers": clips["speaker"].nunique()}
    rows = [
        {"degradation": degradation, "level": level, "unit": unit}
        | counts
        | ua_row(
            predicted[:, number],
            truth=truth,
            speakers=clips["speaker"].to_numpy(),
            clips=clips["clip"].to_numpy(),
            n_classes=n_classes,
            reference=predicted[:, 0] if number else None,
        )
        for number, (degradation, level, unit) in enumerate(conditions)
    ]
    return pd.DataFrame(rows).assign(protocol=protocol).reindex(columns=COLUMNS).round(6)


def read_robustness(path: str | Path) -> pd.DataFrame:
    """Read the table of degraded clips; it may have no row.

    Raises
    ------
    ValueError
        if it has other columns
    """
    table = pd.read_csv(path, keep_default_na=False, na_values={name: [""] for name in _NUMBERS})
    if tuple(table) != COLUMNS:
        raise ValueError(f"{path}: got the columns {list(table)}, want {list(COLUMNS)}")
    return table
