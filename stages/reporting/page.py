"""The report as one page that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from stages.clips.completeness import summary
from stages.reporting import corpus_facts as corpora
from stages.reporting.examples import LONGEST_S
from stages.reporting.html import cell, fill
from stages.reporting.panels import SPREAD
from stages.reporting.report import Report

#: What the figures are called on the page.
FIGURES = {
    "ua": "UA, unweighted accuracy: mean recall over the emotions",
    "wa": "WA, accuracy: share of all clips recognised",
    "macro_f1": "F1, mean over the emotions",
    "macro_precision": "precision, mean over the emotions",
    "macro_recall": "recall, mean over the emotions (the same as UA)",
    "weighted_f1": "F1, emotions weighted by their clips",
    "weighted_precision": "precision, emotions weighted by their clips",
    "weighted_recall": "recall, emotions weighted by their clips (the same as WA)",
    "mcc": "Matthews correlation (guessing: 0)",
    "top2": "top-2 accuracy: the emotion is one of the two most probable",
    "roc_area": "ROC area, each emotion against the rest, mean (guessing: 0.5)",
    "loss": "log loss in nats (knowing nothing: ln of the number of emotions)",
    "brier": "Brier score, 0 to 2, lower is better",
    "ece": "expected calibration error: confidence against accuracy, in 15 bins",
    "loss_scaled": "log loss after temperature scaling",
    "brier_scaled": "Brier score after temperature scaling",
    "ece_scaled": "expected calibration error after temperature scaling",
}


def render(report: Report) -> str:
    """Fill in the page: HTML without links, scripts, dates or paths; the PNG figures are in it."""
    bands = report.tables["fairness"]
    voices = bands[bands["by"] == "speaker"]
    overall = report.tables["overall"].replace({"figure": FIGURES})
    if report.metrics["n_seeds"] == 1:
        overall = overall.drop(columns="seed_sd")
    return fill(
        "page.html.j2",
        files=report.figures,
        metrics=report.metrics,
        overall=with_intervals(overall.drop(columns="protocol")),
        chance=1 / len(report.labels),
        tables={
            name: with_intervals(table.drop(columns="protocol"))
            for name, table in report.tables.items()
        },
        gap=report.tables["speaker_gap"].iloc[0],
        outside={"below": 0, "above": 0} | voices["verdict"].value_counts().to_dict(),
        bands=bands[bands["by"] != "speaker"].drop(columns=["by", "protocol"]),
        sexes=report.tables["sex_gap"].iloc[0],
        fates=report.fates,
        corpora=report.corpora,
        overview=corpora.overview(report.corpora),
        lacking=corpora.missing_table(report.corpora.completeness),
        found={name: summary(of) for name, of in report.corpora.completeness.items()},
        partial=[
            f"{name} ({of.found} of {of.expected} clips)"
            for name, of in report.corpora.completeness.items()
            if of.missing
        ],
        shared_validation=sum(
            bool(fold["validation_shares_speakers"] and fold["test_clips"])
            for fold in report.leakage["folds"]
        ),
        leakage=leakage_table(report.leakage),
        sentences_held_out=report.leakage["sentences_held_out"],
        robustness=with_intervals(
            report.robustness.assign(level=[f"{level:g}" for level in report.robustness["level"]])
            .replace({"level": {"nan": ""}})
            .drop(columns="protocol")
        ),
        examples=report.examples,
        embedding=report.embedding,
        longest_s=LONGEST_S,
        spread=SPREAD,
        settings=report.settings,
        labels=report.labels,
        epochs=len(report.plots["learning_curves"]),
        shared=report.shared,
        demo=report.settings["data"]["name"] == "demo",
    )


def leakage_table(leakage: Mapping[str, Any]) -> pd.DataFrame:
    """One row per fold; lists of names become text, so that an empty one reads "none"."""
    rows = [{key: _words(value) for key, value in fold.items()} for fold in leakage["folds"]]
    return pd.DataFrame(rows).rename(columns=lambda key: key.replace("_", " "))


def with_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """For the eye: <figure>, <figure>_low and <figure>_high in one column of text, or as it was."""
    shown = {}
    for name in table:
        low, high = ("low", "high") if name == "value" else (f"{name}_low", f"{name}_high")
        if low in table:
            shown[name] = [
                cell(value)
                if value != value or low != low
                else f"{value:.3f} ({low:.3f}–{high:.3f})"
                for value, low, high in zip(table[name], table[low], table[high], strict=True)
            ]
        elif name not in ("low", "high") and not name.endswith(("_low", "_high")):
            shown[name] = table[name]
    return pd.DataFrame(shown)


def _words(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return value
