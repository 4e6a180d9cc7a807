"""How much of the unweighted accuracy is left of degraded speech."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from numpy.typing import NDArray

from stages.metrics import counts as metrics

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
#: Of COLUMNS: empty where there is nothing to say.
_NUMBERS = ("level", "difference", "difference_low", "difference_high")


def read_robustness(path: str | Path) -> pd.DataFrame:
    """Read what the `robustness` stage wrote; it may have no row.

    Raises
    ------
    ValueError
        if it has other columns
    """
    table = pd.read_csv(path, keep_default_na=False, na_values=dict.fromkeys(_NUMBERS, [""]))
    if tuple(table) != COLUMNS:
        raise ValueError(f"{path}: got the columns {list(table)}, want {list(COLUMNS)}")
    return table


def robustness_table(
    conditions: Sequence[tuple[str, float | None, str]],
    *,
    clips: pd.DataFrame,
    truth: NDArray,
    predicted: NDArray,
    n_classes: int,
    protocol: str,
) -> pd.DataFrame:
    """One row per condition, pooled over folds, computed per seed and averaged over seeds.

    Parameters
    ----------
    conditions : degradation, level or None, unit of the level
        the first is what the others are compared with
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
        of COLUMNS. `interval` says what the 95 % jackknife intervals of `ua` and `difference` leave
        out in turn. `difference` is that to the first row on the same clips, which itself has none
    """
    speakers = clips["speaker"].to_numpy()
    common = {"statistic": metrics.unweighted_accuracy, "truth": truth, "n_classes": n_classes}
    rows = []
    for number, (degradation, level, unit) in enumerate(conditions):
        answers = predicted[:, number]
        counts = metrics.confusion_matrix(truth, answers, n_classes=n_classes)
        low, high, left_out = metrics.speaker_interval(
            lambda confusions: metrics.unweighted_accuracy(confusions).mean(-1),
            *(truth, answers, speakers),
            n_classes=n_classes,
        )
        row = {"degradation": degradation, "level": level, "unit": unit}
        row |= {"n_clips": clips["clip"].nunique(), "n_speakers": clips["speaker"].nunique()}
        row |= {"ua": metrics.unweighted_accuracy(counts).mean(), "ua_low": low, "ua_high": high}
        if number:
            difference, ends = metrics.paired_difference(
                **common, predicted=answers, reference=predicted[:, 0], speakers=speakers
            )
            row |= {"difference": difference}
            row |= {"difference_low": ends.low, "difference_high": ends.high}
        rows.append(row | {"interval": left_out, "protocol": protocol})
    return pd.DataFrame(rows, columns=COLUMNS).round(6)
