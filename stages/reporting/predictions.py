"""Predictions of held-out and of validation clips, read, checked and arranged by clip and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.metrics.counts import Statistic, confusion_by_group, confusion_matrix
from stages.metrics.intervals import Interval, jackknife_interval, left_out
from stages.metrics.probabilities import roc_areas

_TEXT = ("clip", "corpus", "speaker", "sex", "label")
_COLUMNS = (*_TEXT, "fold", "seed")


@dataclass(frozen=True)
class Predictions:
    """Held-out predictions of every clip under every seed.

    Attributes
    ----------
    clips : DataFrame
        one row per clip, sorted: clip, corpus, speaker, sex, label, fold; one row per clip and fold
        where a protocol tests a clip in several folds
    labels : list of str
        classes in the order of the label set
    truth : int [clips]
        index of the actual class
    probabilities : float [clips, seeds, classes]
    seeds : list of int
        in the order of the probabilities
    n_folds : int
    certain : bool
        whether the answers are labels, of a system that gives no probabilities
    """

    clips: pd.DataFrame
    labels: list[str]
    truth: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    seeds: list[int]
    n_folds: int
    certain: bool = False

    @property
    def n_seeds(self) -> int:
        """Number of seeds."""
        return len(self.seeds)

    @property
    def speakers(self) -> NDArray[Any]:
        """Speaker of each clip."""
        return self.clips["speaker"].to_numpy()

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Index of the most probable class, [clips, seeds]."""
        return self.probabilities.argmax(-1)

    @property
    def tested(self) -> dict[str, Any]:
        """Truth, speakers, clips and n_classes, as `metrics.intervals` takes them."""
        return {
            "truth": self.truth,
            "speakers": self.speakers,
            "clips": self.clips["clip"].to_numpy(),
            "n_classes": len(self.labels),
        }

    @cached_property
    def roc(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Areas under the curves, and without each speaker or clip: see `roc_areas`, `left_out`."""
        return roc_areas(self.truth, self.probabilities, left_out(self.speakers)[0])

    def select(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Predictions:
        """Predictions of the clips of a mask or at places; labels, seeds and n_folds stay."""
        return replace(
            self,
            clips=self.clips.iloc[rows].reset_index(drop=True),
            truth=self.truth[rows],
            probabilities=self.probabilities[rows],
        )

    def confusion(self) -> NDArray[np.int64]:
        """Confusion counts, [seeds, actual, predicted]."""
        return confusion_matrix(self.truth, self.predicted, n_classes=len(self.labels))

    def interval(self, statistic: Statistic, *, lowest: float = 0.0) -> Interval:
        """95 % interval of a statistic of confusion counts, averaged over seeds."""
        counts, unit = self._counts
        ends = jackknife_interval(
            lambda confusions: statistic(confusions).mean(-1), counts, lowest=lowest
        )
        return Interval(*map(float, ends), unit)

    @cached_property
    def _counts(self) -> tuple[NDArray[np.int64], str]:
        """Confusion counts of each unit that an interval leaves out, and what the units are."""
        units, unit = left_out(self.speakers, clips=self.clips["clip"].to_numpy())
        answers = (self.truth, self.predicted, units)
        return confusion_by_group(*answers, n_classes=len(self.labels))[1], unit


def read_predictions(path: str | Path, *, known: pd.Series) -> Predictions:
    """Read and check a table of predictions.

    Parameters
    ----------
    path : path
        CSV: clip, corpus, speaker, sex, fold, seed, label, and p_<label> for each label
    known : Series of str
        clips that exist

    Raises
    ------
    ValueError
        naming the file, the clip and its fault
    """
    return arrange(_read(path), known=known, name=str(path))


def arrange(table: pd.DataFrame, *, known: pd.Series, name: str) -> Predictions:
    """Check a table of predictions and arrange it by clip and seed.

    Parameters
    ----------
    table : DataFrame
        see `read_predictions`, which also says what is raised
    known : Series of str
        clips that exist
    name : str
        of the table, for errors
    """
    _check_columns(table, name=name)
    if table.empty:
        raise ValueError(f"{name}: got 0 rows, want one for each held-out clip and seed")
    table = table.sort_values(["clip", "fold", "seed"], kind="stable", ignore_index=True)
    columns = _probability_columns(table)
    seeds = sorted(table["seed"].unique())
    runs = table.groupby(["clip", "fold"])["seed"].transform("size")
    folds = table.groupby("clip")["fold"].transform("nunique")
    usual = folds.mode()[0]
    rules = {
        f"want a prediction for each of the seeds {', '.join(map(str, seeds))}": runs != len(seeds),
        f"want predictions in as many folds as for most clips, {usual}": folds != usual,
    }
    _check_rows(table, rules=_rules(table, known=known) | rules, name=name)
    labels = [column.removeprefix("p_") for column in columns]
    probabilities = table[columns].to_numpy(dtype=float)
    clips = table.loc[:: len(seeds), [*_TEXT, "fold"]].reset_index(drop=True)
    return Predictions(
        clips=clips,
        labels=labels,
        truth=clips["label"].map(labels.index).to_numpy(dtype=np.int64),
        probabilities=probabilities.reshape(len(clips), len(seeds), len(labels)),
        seeds=[int(seed) for seed in seeds],
        n_folds=table["fold"].nunique(),
    )


def read_validation(
    path: str | Path, *, known: pd.Series, predictions: Predictions
) -> pd.DataFrame:
    """Read and check the predictions of validation clips.

    Parameters
    ----------
    path : path
        CSV with the columns of the predictions; it may have no row
    known : Series of str
        clips that exist
    predictions : Predictions
        of the same jobs, for the clips that they hold out

    Raises
    ------
    ValueError
        as for `read_predictions`; if the labels differ from those of the predictions, or a clip
        validates in a fold that holds it out
    """
    table = _read(path)
    _check_columns(table, name=str(path))
    columns = [f"p_{label}" for label in predictions.labels]
    if _probability_columns(table) != columns:
        raise ValueError(f"{path}: got {_probability_columns(table)}, want {columns}")
    pairs = pd.MultiIndex.from_frame(predictions.clips[["clip", "fold"]])
    both = pd.Series(pd.MultiIndex.from_frame(table[["clip", "fold"]]).isin(pairs))
    rules = _rules(table, known=known) | {"validates in a fold that holds it out": both}
    _check_rows(table, rules=rules, name=str(path))
    return table


def check_jobs(
    predictions: Predictions, *, folds: Sequence[Mapping[str, Any]], seeds: Sequence[int]
) -> None:
    """Check that each fold's held-out clips were predicted under every seed, and no others.

    Parameters
    ----------
    predictions : Predictions
    folds : list of mapping
        of the leakage report: fold, test_clips
    seeds : sequence of int
        of the jobs

    Raises
    ------
    ValueError
        naming the seeds, or the fold and the number of its clips that were predicted
    """
    if predictions.seeds != sorted(seeds):
        raise ValueError(
            f"data/predictions.csv: got the seeds {predictions.seeds}, want {sorted(seeds)} as in "
            "params.yaml"
        )
    wanted = {str(fold["fold"]): fold["test_clips"] for fold in folds if fold["test_clips"]}
    got = predictions.clips["fold"].astype("str").value_counts().to_dict()
    for fold in dict.fromkeys([*wanted, *got]):
        if wanted.get(fold, 0) != got.get(fold, 0):
            raise ValueError(
                f"data/predictions.csv: fold {fold}: got predictions of {got.get(fold, 0)} clips, "
                f"want {wanted.get(fold, 0)}, the held-out clips of reports/leakage.json"
            )


def _read(path: str | Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=dict.fromkeys(_TEXT, "str"), keep_default_na=False)


def _probability_columns(table: pd.DataFrame) -> list[str]:
    return [column for column in table if column.startswith("p_")]


def _check_columns(table: pd.DataFrame, *, name: str) -> None:
    missing = [column for column in _COLUMNS if column not in table]
    if missing:
        raise ValueError(f"{name}: columns missing {missing}, want all of {list(_COLUMNS)}")
    if not _probability_columns(table):
        raise ValueError(f"{name}: got 0 probability columns, want a p_<label> for each label")


def _rules(table: pd.DataFrame, *, known: pd.Series) -> dict[str, pd.Series]:
    """Faults that a row may have, and the rows that have them."""
    columns = _probability_columns(table)
    values = table[columns].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    facts = table.groupby("clip")[["corpus", "speaker", "label"]].transform("nunique")
    # NaN fails each of these comparisons, so it is found as well.
    valid = (abs(values.sum(1) - 1) <= 1e-3) & ((values >= 0) & (values <= 1)).all(1)
    labels = [column.removeprefix("p_") for column in columns]
    return {
        # As objects, which a hash table compares; texts of Arrow are converted one by one.
        "not in the clip table": ~table["clip"].astype("object").isin(known),
        f"its label has no column, want one of {', '.join(columns)}": ~table["label"].isin(labels),
        "want probabilities between 0 and 1 with a sum of 1 (within 0.001)": ~pd.Series(valid),
        "predicted more than once for one seed": table.duplicated(["clip", "fold", "seed"]),
        "corpus, speaker or label differ between its rows": (facts > 1).any(axis=1),
    }


def _check_rows(table: pd.DataFrame, *, rules: Mapping[str, pd.Series], name: str) -> None:
    """Refuse a table, naming the first row with a fault."""
    for rule, broken in rules.items():
        if broken.any():
            row = table[broken].iloc[0]
            shown = ("fold", "seed", "label", *_probability_columns(table))
            got = " ".join(f"{column}={row[column]}" for column in shown)
            raise ValueError(f"{name}: {row['clip']}: {rule}; got {got}; {broken.sum()} such rows")
