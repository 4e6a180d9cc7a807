"""Overall figures: all clips, pooled over folds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.metrics.counts import (
    accuracy,
    f1,
    macro,
    matthews,
    precision,
    unweighted_accuracy,
    weighted,
)
from stages.metrics.intervals import (
    Interval,
    interval_of_replicates,
    jackknife_interval,
    left_out,
    mean_interval,
)
from stages.metrics.probabilities import (
    LEAST,
    calibration_error,
    in_top,
    log_losses,
    mean_defined,
    reliability,
    squared_errors,
)
from stages.reporting.grouped import per_corpus
from stages.reporting.html import with_intervals
from stages.reporting.predictions import Predictions
from stages.reporting.run import Run
from stages.reporting.section import Section

#: Figures on the page.
FIGURES = {
    "ua": "UA, unweighted accuracy: mean recall over the emotions",
    "wa": "WA, accuracy: fraction of clips recognised",
    "macro_f1": "F1, mean over the emotions",
    "macro_precision": "precision, mean over the emotions",
    "macro_recall": "recall, mean over the emotions (equal to UA)",
    "weighted_f1": "F1, emotions weighted by their clips",
    "weighted_precision": "precision, emotions weighted by their clips",
    "weighted_recall": "recall, emotions weighted by their clips (equal to WA)",
    "mcc": "Matthews correlation (0 for guessing)",
    "top2": "top-2 accuracy: the emotion is one of the two most probable",
    "roc_area": "ROC area, each emotion against the rest, mean (0.5 for guessing)",
    "loss": "log loss in nats (uniform probabilities: ln of the number of emotions)",
    "brier": "Brier score, 0 to 2, lower is better",
    "ece": "expected calibration error, 15 bins",
    "loss_scaled": "log loss after temperature scaling",
    "brier_scaled": "Brier score after temperature scaling",
    "ece_scaled": "expected calibration error after temperature scaling",
}
#: Figures of confusion counts [..., classes, classes].
_OF_COUNTS = {
    "ua": unweighted_accuracy,
    "wa": accuracy,
    "macro_f1": lambda counts: macro(f1(counts), counts),
    "macro_precision": lambda counts: macro(precision(counts), counts),
    "macro_recall": unweighted_accuracy,
    "weighted_f1": lambda counts: weighted(f1(counts), counts),
    "weighted_precision": lambda counts: weighted(precision(counts), counts),
    "weighted_recall": accuracy,
    "mcc": matthews,
}
#: Least value of a figure, if not 0.
_LOWEST = {"mcc": -1.0}
#: Figures of metrics.json, besides the UA.
_HEADLINE = (
    *("wa", "macro_f1", "macro_precision", "macro_recall", "weighted_f1", "mcc", "top2"),
    *("roc_area", "loss", "brier", "ece"),
)
#: Figures that a temperature changes.
_SCALED = ("loss", "brier", "ece")
#: With more corpora, the figures of each are in the tables alone.
_MOST_CORPORA = 8


def section(run: Run) -> Section:
    """All figures with their intervals; those of metrics.json."""
    table = overall(run.predictions)
    metrics = headline(run.predictions, table)
    if run.calibrated:
        scaled = overall(run.calibrated).set_index("figure").loc[list(_SCALED)]
        metrics |= {"ece_scaled": float(scaled["value"]["ece"])}
        scaled = scaled.rename(index=lambda figure: f"{figure}_scaled").reset_index()
        table = pd.concat([table, scaled], ignore_index=True)
    shown = table.replace({"figure": FIGURES})
    if run.predictions.n_seeds == 1:
        shown = shown.drop(columns="seed_sd")
    partial = [
        f"{corpus} ({found.found} of {found.expected} clips)"
        for corpus, found in run.completeness.items()
        if found.missing
    ]
    return Section(
        metrics=metrics,
        tables={"overall": table},
        words={"figures_of_merit": with_intervals(shown), "partial": partial},
    )


def overall(predictions: Predictions) -> pd.DataFrame:
    """Compute every figure over all clips, per seed and averaged over seeds.

    Returns
    -------
    DataFrame
        one row per figure: figure, value, low, high (95 % jackknife interval), interval (left out
        in turn: speakers or clips), seed_sd (standard deviation over seeds; empty with one seed).
        The area under the ROC curve is left out where it is undefined, as all clips have one label;
        so are all figures of probabilities where answers are labels alone
    """
    found: dict[str, tuple[NDArray, Interval]] = {}  # values [seeds], interval of their mean
    confusion = predictions.confusion()
    for name, statistic in _OF_COUNTS.items():
        interval = predictions.interval(statistic, lowest=_LOWEST.get(name, 0.0))
        found[name] = statistic(confusion), interval
    if not predictions.certain:
        found |= _of_probabilities(predictions)
    rows = [
        {
            "figure": name,
            "value": values.mean(),
            "low": interval.low,
            "high": interval.high,
            "interval": interval.unit,
            "seed_sd": values.std(ddof=1) if predictions.n_seeds > 1 else np.nan,
        }
        for name, (values, interval) in found.items()
    ]
    return pd.DataFrame(rows).round(6)


def _of_probabilities(predictions: Predictions) -> dict[str, tuple[NDArray, Interval]]:
    """Figures of probabilities, see `overall`: values [seeds], interval of their mean."""
    found: dict[str, tuple[NDArray, Interval]] = {}
    answers = (predictions.truth, predictions.probabilities)
    for name, values, highest in (
        ("top2", in_top(*answers, k=2), 1.0),
        ("brier", squared_errors(*answers).sum(-1), 2.0),
        ("loss", log_losses(*answers), -np.log(LEAST)),
    ):
        interval = mean_interval(values, predictions.speakers, highest=highest)
        found[name] = values.mean(0), interval
    groups, unit = left_out(predictions.speakers)
    areas, replicates = map(mean_defined, predictions.roc_areas)
    if not np.isnan(areas).any():
        low, high = interval_of_replicates(areas.mean(-1), replicates.mean(-1))
        found["roc_area"] = areas, Interval(float(low), float(high), unit)
    sums = reliability(*answers, groups)
    low, high = jackknife_interval(lambda bins: calibration_error(bins).mean(-1), sums)
    found["ece"] = calibration_error(sums.sum(0)), Interval(float(low), float(high), unit)
    return found


def headline(predictions: Predictions, table: pd.DataFrame) -> dict[str, float | int]:
    """Choose the figures of metrics.json: one flat dict of finite numbers.

    There are fewer than 30, because each becomes a column of `dvc exp show`. Undefined figures are
    left out, and so are those of each corpus if there are many.

    Parameters
    ----------
    predictions : Predictions
    table : DataFrame
        see `overall`
    """
    figures = table.set_index("figure")
    value = figures["value"]
    chosen = {"ua": value["ua"], "ua_low": figures["low"]["ua"], "ua_high": figures["high"]["ua"]}
    chosen |= {name: value[name] for name in _HEADLINE if name in value}
    chosen |= {
        "n_clips": predictions.clips["clip"].nunique(),
        "n_speakers": predictions.clips["speaker"].nunique(),
        "n_folds": predictions.n_folds,
        "n_seeds": predictions.n_seeds,
    }
    if predictions.n_seeds > 1:
        chosen["ua_seed_sd"] = figures["seed_sd"]["ua"]
    corpora = per_corpus(predictions)
    if 1 < len(corpora) <= _MOST_CORPORA:
        chosen |= {f"ua_{row.corpus}": row.ua for row in corpora.itertuples()}
    return {
        name: int(number) if name.startswith("n_") else float(number)
        for name, number in chosen.items()
    }
