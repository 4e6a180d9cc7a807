"""From predictions and clips to figures in rows: the headline metrics and every table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.clips.table import count_reasons
from stages.reporting import metrics

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
    n_folds, n_seeds : int
    """

    clips: pd.DataFrame
    labels: list[str]
    truth: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    n_folds: int
    n_seeds: int

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
    ) -> metrics.Interval:
        """Interval of the mean over seeds of a statistic of confusion counts, for chosen clips."""
        return metrics.speaker_interval(
            lambda confusions: statistic(confusions).mean(-1),
            self.truth[rows],
            self.predicted[rows],
            self.clips["speaker"].to_numpy()[rows],
            n_classes=len(self.labels),
        )


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
    missing = [column for column in _COLUMNS if column not in table]
    columns = [column for column in table if column.startswith("p_")]
    if missing or not columns or table.empty:
        raise ValueError(
            f"{name}: columns missing {missing}, {len(columns)} probability columns, "
            f"{len(table)} rows; want all columns, a p_<label> for each label, and a row per clip"
        )
    table = table.sort_values(["clip", "fold", "seed"], kind="stable", ignore_index=True)
    probabilities = table[columns].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    labels = [column.removeprefix("p_") for column in columns]
    seeds = sorted(table["seed"].unique())
    runs = table.groupby(["clip", "fold"])["seed"].transform("size")
    folds = table.groupby("clip")["fold"].transform("nunique")
    facts = table.groupby("clip")[["corpus", "speaker", "label"]].transform("nunique")
    # NaN fails both comparisons below, so it is found as well
    valid = (abs(probabilities.sum(1) - 1) <= 1e-3) & (probabilities >= 0).all(1)
    rules = {
        "not in the clip table": ~table["clip"].isin(known),
        f"its label has no column, want one of {', '.join(columns)}": ~table["label"].isin(labels),
        "probabilities are not at least 0 with a sum of 1 (within 0.001)": ~pd.Series(valid),
        "predicted more than once for one seed": table.duplicated(["clip", "fold", "seed"]),
        f"not predicted for each of the seeds {', '.join(map(str, seeds))}": runs != len(seeds),
        f"not predicted in as many folds as most clips, {folds.mode()[0]}": folds
        != folds.mode()[0],
        "corpus, speaker or label differ between its rows": (facts > 1).any(axis=1),
    }
    for rule, broken in rules.items():
        if broken.any():
            row = table[broken].iloc[0]
            got = " ".join(f"{column}={row[column]}" for column in ("seed", "label", *columns))
            raise ValueError(f"{name}: {row['clip']}: {rule}; got {got}; {broken.sum()} such rows")
    clips = table.loc[:: len(seeds), [*_TEXT, "fold"]].reset_index(drop=True)
    return Predictions(
        clips=clips,
        labels=labels,
        truth=clips["label"].map(labels.index).to_numpy(dtype=np.int64),
        probabilities=probabilities.reshape(len(clips), len(seeds), len(labels)),
        n_folds=table["fold"].nunique(),
        n_seeds=len(seeds),
    )


def headline(predictions: Predictions) -> dict[str, float | int]:
    """The figures that experiments are compared by: one flat dict of finite numbers.

    All are pooled over folds, computed per seed, and averaged over seeds.
    """
    confusion = predictions.confusion()
    ua = metrics.unweighted_accuracy(confusion)  # [seeds]
    interval = predictions.interval(metrics.unweighted_accuracy)
    result = {
        "ua": ua.mean(),
        "ua_low": interval.low,
        "ua_high": interval.high,
        "wa": metrics.accuracy(confusion).mean(),
        "macro_f1": metrics.macro(metrics.f1(confusion), confusion).mean(),
        "macro_precision": metrics.macro(metrics.precision(confusion), confusion).mean(),
        "macro_recall": ua.mean(),
        "loss": metrics.log_loss(predictions.truth, predictions.probabilities),
        "n_clips": predictions.clips["clip"].nunique(),
        "n_speakers": predictions.clips["speaker"].nunique(),
        "n_folds": predictions.n_folds,
        "n_seeds": predictions.n_seeds,
    }
    if predictions.n_seeds > 1:
        result["ua_seed_sd"] = ua.std(ddof=1)
    corpora = per_corpus(predictions)
    if len(corpora) > 1:
        for row in corpora.itertuples():
            result |= {f"ua_{row.corpus}": row.ua, f"wa_{row.corpus}": row.wa}
    return {
        name: int(value) if name.startswith("n_") else round(float(value), 6)
        for name, value in result.items()
    }


def per_class(predictions: Predictions) -> pd.DataFrame:
    """Precision, recall and F1 of each label; empty recall where the label has no clip."""
    confusion = predictions.confusion()
    table = pd.DataFrame(
        {
            "label": predictions.labels,
            "precision": metrics.precision(confusion).mean(0),
            "recall": metrics.recall(confusion).mean(0),
            "recall_low": np.nan,
            "recall_high": np.nan,
            "interval": "",
            "f1": metrics.f1(confusion).mean(0),
            "support": confusion[0].sum(-1),
        }
    )
    for label in np.unique(predictions.truth):
        # only speakers with clips of this label are left out: the others say nothing about it
        found = predictions.interval(
            lambda confusions, label=label: metrics.recall(confusions)[..., label],
            predictions.truth == label,
        )
        table.loc[label, ["recall_low", "recall_high", "interval"]] = list(found)
    return table.round(6)


def per_corpus(predictions: Predictions) -> pd.DataFrame:
    """UA with its interval, and WA, of each corpus by itself."""
    rows = []
    for corpus, clips in predictions.clips.groupby("corpus"):
        chosen = predictions.clips["corpus"].to_numpy() == corpus
        confusion = predictions.confusion(chosen)
        found = predictions.interval(metrics.unweighted_accuracy, chosen)
        rows.append(
            {
                "corpus": corpus,
                "clips": clips["clip"].nunique(),
                "speakers": clips["speaker"].nunique(),
                "ua": metrics.unweighted_accuracy(confusion).mean(),
                "ua_low": found.low,
                "ua_high": found.high,
                "interval": found.unit,
                "wa": metrics.accuracy(confusion).mean(),
            }
        )
    return pd.DataFrame(rows).round(6)


def per_fold(predictions: Predictions) -> pd.DataFrame:
    """The table `per_corpus` of each fold by itself: a row for each fold and tested corpus."""
    parts = []
    for fold, clips in predictions.clips.groupby("fold"):
        part = replace(
            predictions,
            clips=clips.reset_index(drop=True),
            truth=predictions.truth[clips.index],
            probabilities=predictions.probabilities[clips.index],
        )
        table = per_corpus(part)
        table.insert(0, "fold", fold)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def per_speaker(predictions: Predictions) -> pd.DataFrame:
    """UA over the classes that a speaker has, and WA, of each speaker by itself."""
    speakers, confusions = metrics.confusion_by_group(
        predictions.truth,
        predictions.predicted,
        predictions.clips["speaker"].to_numpy(),
        n_classes=len(predictions.labels),
    )  # [speakers, seeds, classes, classes]
    facts = predictions.clips.groupby("speaker").first()[["corpus", "sex"]].loc[speakers]
    support = confusions[:, 0].sum(-1)  # [speakers, classes]
    return pd.DataFrame(
        {
            "corpus": facts["corpus"].to_numpy(),
            "speaker": speakers,
            "sex": facts["sex"].to_numpy(),
            "clips": support.sum(-1),
            "classes": (support > 0).sum(-1),
            "ua": metrics.unweighted_accuracy(confusions).mean(-1),
            "wa": metrics.accuracy(confusions).mean(-1),
        }
    ).round(6)


def confusion_rows(predictions: Predictions) -> pd.DataFrame:
    """Actual and predicted label, one row per clip and seed."""
    labels = np.array(predictions.labels)
    return pd.DataFrame(
        {
            "actual": np.repeat(labels[predictions.truth], predictions.n_seeds),
            "predicted": labels[predictions.predicted].reshape(-1),
        }
    )


def held_out_jobs(training: pd.DataFrame) -> pd.DataFrame:
    """The training history without the job `all`, which holds no clip out."""
    return training[training["fold"] != "all"]


def learning_curves(training: pd.DataFrame) -> pd.DataFrame:
    """Mean of the jobs still running at each epoch, one row per epoch."""
    curves = ["train_loss", "validation_loss", "train_ua", "validation_ua"]
    return held_out_jobs(training).groupby("epoch")[curves].mean().round(6).reset_index()


def emotion_counts(
    clips: pd.DataFrame, *, labels: list[str], label_map: Mapping[str, str | None]
) -> pd.DataFrame:
    """Usable clips by corpus (rows) and label (columns, in the given order), variants left out."""
    usable = clips[(clips["variant"] == "clean") & (clips["excluded"] == "")]
    mapped = usable["emotion"].map(label_map)
    return pd.crosstab(usable["corpus"], mapped).reindex(columns=labels, fill_value=0)


def clip_fates(
    clips: pd.DataFrame, *, predicted: pd.Series, label_map: Mapping[str, str | None]
) -> pd.DataFrame:
    """What became of every file: rows by fate, one column per corpus and one for all of them.

    Parameters
    ----------
    clips : DataFrame
        the clip table
    predicted : Series of str
        the clips that were predicted
    label_map : mapping
        emotion -> label, or None where the emotion is outside the label set
    """
    clean = clips[clips["variant"] == "clean"]
    usable = clean[clean["excluded"] == ""]
    outside = usable[usable["emotion"].map(label_map).isna()]
    held_out = usable["clip"].isin(predicted)
    rest = usable[~held_out & ~usable["clip"].isin(outside["clip"])]
    variants = clips[clips["variant"] != "clean"]
    parts = {
        "held out and predicted": usable[held_out],
        **{
            f"excluded: {reason}": clean[clean["excluded"].str.partition(":")[0] == reason]
            for reason in count_reasons(clean).index
        },
        **{
            f"outside the label set: {emotion}": group
            for emotion, group in outside.groupby("emotion")
        },
        "usable, but not held out by this protocol": rest,
        "files in all": clean,
        "training variants made from them": variants,
    }
    corpora = sorted(clips["corpus"].unique())
    rows = [
        {"fate": fate}
        | {corpus: int((part["corpus"] == corpus).sum()) for corpus in corpora}
        | {"all corpora": len(part)}
        for fate, part in parts.items()
        if len(part)
    ]
    return pd.DataFrame(rows)
