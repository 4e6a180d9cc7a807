"""From predictions and clips to figures in rows: the headline metrics and every table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.clips.clip_table import count_reasons
from stages.metrics import counts as metrics
from stages.metrics import probabilities as scores
from stages.reporting.predictions import Predictions

#: Figures of confusion counts [..., classes, classes].
_OF_COUNTS = {
    "ua": metrics.unweighted_accuracy,
    "wa": metrics.accuracy,
    "macro_f1": lambda counts: metrics.macro(metrics.f1(counts), counts),
    "macro_precision": lambda counts: metrics.macro(metrics.precision(counts), counts),
    "macro_recall": metrics.unweighted_accuracy,
    "weighted_f1": lambda counts: metrics.weighted(metrics.f1(counts), counts),
    "weighted_precision": lambda counts: metrics.weighted(metrics.precision(counts), counts),
    "weighted_recall": metrics.accuracy,
    "mcc": metrics.matthews,
}
#: Figures of each class, [..., classes].
_OF_ONE_CLASS = {
    "recall": metrics.recall,
    "precision": metrics.precision,
    "f1": metrics.f1,
    "mcc": lambda counts: metrics.matthews(metrics.one_against_rest(counts)),
}
#: That a figure can take, if not 0.
_LOWEST = {"mcc": -1.0}
#: Age group -> its youngest speakers, in whole years: voices of young adults, of two halves of
#: middle age, and of the age from which they are heard to be old. CREMA-D has 20 to 74 years.
AGE_GROUPS = {"under 30": 0, "30 to 44": 30, "45 to 59": 45, "60 and over": 60}
UNKNOWN = "unknown"
_HEADLINE = ("wa", "macro_f1", "macro_precision", "macro_recall", "weighted_f1", "mcc", "top2")
_HEADLINE += ("roc_area", "loss", "brier", "ece")
#: With more corpora their figures stand in the tables alone.
_MOST_CORPORA = 8


def overall(predictions: Predictions) -> pd.DataFrame:
    """Every figure over all clips, pooled over folds, computed per seed and averaged over seeds.

    Returns
    -------
    DataFrame
        one row per figure: figure, value, low, high (95 % jackknife interval), interval (what it
        leaves out in turn), seed_sd (standard deviation over seeds; empty with one seed). The area
        under the ROC curve is left out where all clips are of one label, as it is not defined
    """
    rows = []

    def add(name: str, by_seed: NDArray, interval: metrics.Interval) -> None:
        spread = by_seed.std(ddof=1) if predictions.n_seeds > 1 else np.nan
        rows.append({"figure": name, "value": by_seed.mean(), "low": interval.low})
        rows[-1] |= {"high": interval.high, "interval": interval.unit, "seed_sd": spread}

    confusion = predictions.confusion()
    for name, statistic in _OF_COUNTS.items():
        found = predictions.interval(statistic, lowest=_LOWEST.get(name, 0.0))
        add(name, statistic(confusion), found)
    of = (predictions.truth, predictions.probabilities)
    for name, values, highest in (
        ("top2", scores.in_top(*of, k=2), 1.0),
        ("brier", scores.squared_errors(*of).sum(-1), 2.0),
        ("loss", scores.log_losses(*of), -np.log(scores.LEAST)),
    ):
        found = scores.mean_interval(values, predictions.speakers, highest=highest)
        add(name, values.mean(0), found)
    groups, unit = metrics.left_out(predictions.speakers)
    areas, replicates = map(scores.mean_defined, scores.roc_areas(*of, groups))
    if not np.isnan(areas).any():
        found = metrics.interval_of_replicates(areas.mean(-1), replicates.mean(-1))
        add("roc_area", areas, metrics.Interval(*map(float, found), unit))
    sums = scores.reliability(*of, groups)
    found = metrics.jackknife_interval(lambda s: scores.calibration_error(s).mean(-1), sums)
    error = scores.calibration_error(sums.sum(0))
    add("ece", error, metrics.Interval(*map(float, found), unit))
    return pd.DataFrame(rows).round(6)


def headline(predictions: Predictions) -> dict[str, float | int]:
    """The figures that experiments are compared by: one flat dict of finite numbers.

    They are those of `overall` that _HEADLINE names, under 30 in all, because each becomes a column
    of `dvc exp show`. A figure that is not defined is left out, and so are the corpora's where
    there are too many.
    """
    figures = overall(predictions).set_index("figure")
    value = figures["value"]
    result = {"ua": value["ua"], "ua_low": figures["low"]["ua"], "ua_high": figures["high"]["ua"]}
    result |= {name: value[name] for name in _HEADLINE if name in value}
    result |= {
        "n_clips": predictions.clips["clip"].nunique(),
        "n_speakers": predictions.clips["speaker"].nunique(),
        "n_folds": predictions.n_folds,
        "n_seeds": predictions.n_seeds,
    }
    if predictions.n_seeds > 1:
        result["ua_seed_sd"] = figures["seed_sd"]["ua"]
    corpora = per_corpus(predictions)
    if 1 < len(corpora) <= _MOST_CORPORA:
        result |= {f"ua_{row.corpus}": row.ua for row in corpora.itertuples()}
    return {
        name: int(value) if name.startswith("n_") else float(value)
        for name, value in result.items()
    }


def per_class(predictions: Predictions) -> pd.DataFrame:
    """Figures of each label against the rest, averaged over seeds, each with its interval.

    Returns
    -------
    DataFrame
        one row per label: label, support (clips), interval (what is left out in turn of recall and
        top2: speakers with clips of the label, clips where there is one; of the other figures it is
        all speakers), and of each figure itself, <figure>_low and <figure>_high: recall, precision,
        f1, mcc (Matthews), top2 (share of the label's clips of which it is one of the two most
        probable), roc_area, brier. Of a label without clips recall, top2, roc_area and all
        intervals are empty; so is the roc_area of a label that all clips have
    """
    confusion, speakers = predictions.confusion(), predictions.speakers
    of = (predictions.truth, predictions.probabilities)
    second, squares = scores.in_top(*of, k=2), scores.squared_errors(*of)
    areas, replicates = (
        found.mean(-2) for found in scores.roc_areas(*of, metrics.left_out(speakers)[0])
    )
    rows = []
    for label, name in enumerate(predictions.labels):
        own = predictions.truth == label
        row = {"label": name, "support": int(own.sum()), "interval": ""}
        for figure, statistic in _OF_ONE_CLASS.items():
            row[figure] = statistic(confusion)[:, label].mean()
            if own.any():
                # only speakers with clips of this label are left out of its recall: the others say
                # nothing about it
                found = predictions.interval(
                    lambda confusions, of=statistic, label=label: of(confusions)[..., label],
                    own if figure == "recall" else slice(None),
                    lowest=_LOWEST.get(figure, 0.0),
                )
                row |= {f"{figure}_low": found.low, f"{figure}_high": found.high}
                row["interval"] = row["interval"] or found.unit
        row["brier"] = squares[..., label].mean()
        if own.any():
            row |= {"top2": second[own].mean(), "roc_area": areas[label]}
            found = {
                "top2": scores.mean_interval(second[own], speakers[own]),
                "brier": scores.mean_interval(squares[..., label], speakers),
            }
            if not own.all():
                ranks = metrics.interval_of_replicates(areas[label], replicates[:, label])
                found["roc_area"] = ranks
            for figure, (low, high, *_) in found.items():
                row |= {f"{figure}_low": float(low), f"{figure}_high": float(high)}
        rows.append(row)
    figures = [*_OF_ONE_CLASS, "top2", "roc_area", "brier"]
    columns = [f"{figure}{end}" for figure in figures for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["label", "support", "interval", *columns]).round(6)


def per_group(predictions: Predictions, groups: pd.Series) -> pd.DataFrame:
    """UA and WA of each group of clips by itself, each with its interval.

    Parameters
    ----------
    predictions : Predictions
    groups : Series of str [clips]
        the group of each clip; its name becomes the first column

    Returns
    -------
    DataFrame
        <name>, clips, speakers, classes (labels that the group has: UA is the mean of their
        recalls, so groups that lack labels compare badly with others), ua, ua_low, ua_high,
        interval (what is left out in turn), wa, wa_low, wa_high
    """
    rows = []
    for group, clips in predictions.clips.groupby(groups.to_numpy()):
        chosen = groups.to_numpy() == group
        confusion = predictions.confusion(chosen)
        row = {groups.name: group, "clips": clips["clip"].nunique()}
        row |= {"speakers": clips["speaker"].nunique(), "classes": clips["label"].nunique()}
        for name in ("ua", "wa"):
            found = predictions.interval(_OF_COUNTS[name], chosen)
            row |= {name: _OF_COUNTS[name](confusion).mean(), f"{name}_low": found.low}
            row |= {f"{name}_high": found.high, "interval": found.unit}
        rows.append(row)
    columns = [groups.name, "clips", "speakers", "classes", "ua", "ua_low", "ua_high", "interval"]
    return pd.DataFrame(rows)[[*columns, "wa", "wa_low", "wa_high"]].round(6)


def per_corpus(predictions: Predictions) -> pd.DataFrame:
    """UA and WA of each corpus by itself; see `per_group`."""
    return per_group(predictions, predictions.clips["corpus"])


def breakdowns(predictions: Predictions, *, clips: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """UA and WA by sex, age_group, language and intensity; see `per_group`.

    What is not known of a clip is a group of its own, UNKNOWN, and stands last.

    Parameters
    ----------
    predictions : Predictions
    clips : DataFrame
        the clip table
    """
    facts = clips.set_index("clip").loc[predictions.clips["clip"]].reset_index()
    age = pd.to_numeric(facts["age"], errors="coerce")
    edges = [*AGE_GROUPS.values(), np.inf]
    facts["age_group"] = pd.cut(age, edges, right=False, labels=list(AGE_GROUPS)).astype("str")
    facts["age_group"] = facts["age_group"].where(age.notna(), "")
    facts["sex"] = predictions.clips["sex"]
    found = {}
    for name, order in {
        "sex": [],
        "age_group": list(AGE_GROUPS),
        "language": [],
        "intensity": ["low", "normal", "medium", "strong"],
    }.items():
        table = per_group(predictions, facts[name].replace("", UNKNOWN))
        places = {group: place for place, group in enumerate([*order, UNKNOWN], start=1)}
        found[name] = table.sort_values(
            name, key=lambda groups, places=places: groups.map(places).fillna(0), kind="stable"
        ).reset_index(drop=True)
    return found


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
    """UA over the labels that a speaker has, and WA, of each speaker by itself.

    Returns
    -------
    DataFrame
        corpus, speaker, sex, and the columns of `per_group`; intervals leave out clips
    """
    table = per_group(predictions, predictions.clips["speaker"]).drop(columns="speakers")
    facts = predictions.clips.groupby("speaker").first().loc[table["speaker"]]
    table.insert(0, "corpus", facts["corpus"].to_numpy())
    table.insert(2, "sex", facts["sex"].replace("", UNKNOWN).to_numpy())
    return table


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
    tested = variants["clip"].isin(predicted)
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
        "training variants made from them": variants[~tested],
        "variants made from them, held out and predicted": variants[tested],
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
