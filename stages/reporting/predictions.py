"""The predictions of held-out and of validating clips: read, proven and put in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.metrics import counts as metrics

_TEXT = ("clip", "corpus", "speaker", "sex", "label")
_COLUMNS = (*_TEXT, "fold", "seed")


@dataclass(frozen=True)
class Predictions:
    """The held-out predictions of every clip under every seed.

    Attributes
    ----------
    clips : DataFrame
        one row per clip, sorted: clip, corpus, speaker, sex, label, fold; where a protocol tests
        each clip in several folds, one row per clip and fold
    labels : list of str
        the classes, in the order of the label set
    truth : int [clips]
        index of the actual class
    probabilities : float [clips, seeds, classes]
    seeds : list of int
        in the order of the probabilities
    n_folds : int
    """

    clips: pd.DataFrame
    labels: list[str]
    truth: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    seeds: list[int]
    n_folds: int

    @property
    def n_seeds(self) -> int:
        return len(self.seeds)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Index of the most probable class, [clips, seeds]."""
        return self.probabilities.argmax(-1)

    def confusion(self, rows: NDArray[np.bool_] | slice = slice(None)) -> NDArray[np.int64]:
        """Counts of the chosen clips, [seeds, actual, predicted]."""
        return metrics.confusion_matrix(
            self.truth[rows], self.predicted[rows], n_classes=len(self.labels)
        )

    def interval(
        self,
        statistic: Callable[[NDArray], NDArray],
        rows: NDArray[np.bool_] | slice = slice(None),
        *,
        lowest: float = 0.0,
    ) -> metrics.Interval:
        """Interval of the mean over seeds of a statistic of confusion counts, for chosen clips."""
        return metrics.speaker_interval(
            lambda confusions: statistic(confusions).mean(-1),
            self.truth[rows],
            self.predicted[rows],
            self.speakers[rows],
            n_classes=len(self.labels),
            lowest=lowest,
            clips=self.clips["clip"][rows],
        )

    @property
    def speakers(self) -> NDArray:
        """The speaker of each clip."""
        return self.clips["speaker"].to_numpy()


def read_predictions(path: str | Path, *, known: pd.Series) -> Predictions:
    """Read and check a table of predictions.

    Parameters
    ----------
    path : path
        CSV: clip, corpus, speaker, sex, fold, seed, label, and p_<label> per label
    known : Series of str
        the clips that exist

    Raises
    ------
    ValueError
        naming the file, the clip and what is wrong with it
    """
    table = pd.read_csv(path, dtype=dict.fromkeys(_TEXT, "str"), keep_default_na=False)
    return arrange(table, known=known, name=str(path))


def arrange(table: pd.DataFrame, *, known: pd.Series, name: str) -> Predictions:
    """Check a table of predictions and arrange it by clip and seed; see `read_predictions`.

    `name` is what to call the table in an error.
    """
    _check_columns(table, name=name)
    if table.empty:
        raise ValueError(f"{name}: 0 rows; want one for each clip that is held out, and seed")
    table = table.sort_values(["clip", "fold", "seed"], kind="stable", ignore_index=True)
    columns = _probability_columns(table)
    seeds = sorted(table["seed"].unique())
    runs = table.groupby(["clip", "fold"])["seed"].transform("size")
    folds = table.groupby("clip")["fold"].transform("nunique")
    rules = {
        f"not predicted for each of the seeds {', '.join(map(str, seeds))}": runs != len(seeds),
        f"not predicted in as many folds as most clips, {folds.mode()[0]}": folds
        != folds.mode()[0],
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


def read_validation(path: str | Path, *, known: pd.Series, of: Predictions) -> pd.DataFrame:
    """Read and check what the jobs answered for the clips that validated in them.

    Parameters
    ----------
    path : path
        CSV with the columns of the predictions; it may have no row
    known : Series of str
        the clips that exist
    of : Predictions
        what the same jobs answered for the clips that they hold out

    Raises
    ------
    ValueError
        as for `read_predictions`; if the labels differ from those of the predictions, or a clip
        validates in a fold that holds it out
    """
    table = pd.read_csv(path, dtype=dict.fromkeys(_TEXT, "str"), keep_default_na=False)
    _check_columns(table, name=str(path))
    columns = [f"p_{label}" for label in of.labels]
    if _probability_columns(table) != columns:
        raise ValueError(f"{path}: got {_probability_columns(table)}, want {columns}")
    pairs = pd.MultiIndex.from_frame(of.clips[["clip", "fold"]])
    both = pd.Series(pd.MultiIndex.from_frame(table[["clip", "fold"]]).isin(pairs))
    rules = _rules(table, known=known) | {"validates in a fold that holds it out": both}
    _check_rows(table, rules=rules, name=str(path))
    return table


def _probability_columns(table: pd.DataFrame) -> list[str]:
    return [column for column in table if column.startswith("p_")]


def _check_columns(table: pd.DataFrame, *, name: str) -> None:
    missing = [column for column in _COLUMNS if column not in table]
    number = len(_probability_columns(table))
    if missing or not number:
        raise ValueError(
            f"{name}: columns missing {missing}, {number} probability columns; want all columns, "
            "and a p_<label> for each label"
        )


def _rules(table: pd.DataFrame, *, known: pd.Series) -> dict[str, pd.Series]:
    """What no row of predictions may break, and which rows do."""
    columns = _probability_columns(table)
    values = table[columns].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    facts = table.groupby("clip")[["corpus", "speaker", "label"]].transform("nunique")
    # NaN fails all comparisons below, so it is found as well
    valid = (abs(values.sum(1) - 1) <= 1e-3) & ((values >= 0) & (values <= 1)).all(1)
    labels = [column.removeprefix("p_") for column in columns]
    return {
        "not in the clip table": ~table["clip"].isin(known),
        f"its label has no column, want one of {', '.join(columns)}": ~table["label"].isin(labels),
        "probabilities are not between 0 and 1 with a sum of 1 (within 0.001)": ~pd.Series(valid),
        "predicted more than once for one seed": table.duplicated(["clip", "fold", "seed"]),
        "corpus, speaker or label differ between its rows": (facts > 1).any(axis=1),
    }


def _check_rows(table: pd.DataFrame, *, rules: Mapping[str, pd.Series], name: str) -> None:
    """Refuse a table, naming the first row that breaks a rule."""
    for rule, broken in rules.items():
        if broken.any():
            row = table[broken].iloc[0]
            shown = ("fold", "seed", "label", *_probability_columns(table))
            got = " ".join(f"{column}={row[column]}" for column in shown)
            raise ValueError(f"{name}: {row['clip']}: {rule}; got {got}; {broken.sum()} such rows")


def check_jobs(
    predictions: Predictions, *, folds: Sequence[Mapping[str, Any]], seeds: Sequence[int]
) -> None:
    """Prove that every fold's held-out clips were predicted under every seed, and no others.

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
        naming the seeds; naming the fold, and how many of its clips were predicted
    """
    if predictions.seeds != sorted(seeds):
        raise ValueError(
            f"data/predictions.csv: got predictions of the seeds {predictions.seeds}, want "
            f"{sorted(seeds)}, as params.yaml says"
        )
    wanted = {str(fold["fold"]): fold["test_clips"] for fold in folds if fold["test_clips"]}
    got = predictions.clips["fold"].astype("str").value_counts().to_dict()
    for fold in dict.fromkeys([*wanted, *got]):
        if wanted.get(fold, 0) != got.get(fold, 0):
            raise ValueError(
                f"data/predictions.csv: fold {fold}: got predictions of {got.get(fold, 0)} clips, "
                f"want {wanted.get(fold, 0)}, as many as reports/leakage.json says are held out"
            )
