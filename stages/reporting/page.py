"""The report as one page that needs nothing beside it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from stages.clips.completeness import summary
from stages.reporting import corpora, figures
from stages.reporting.examples import LONGEST_S
from stages.reporting.panels import SPREAD
from stages.reporting.report import Report

#: Key of a metric -> what it is called on the page; keys not listed (per corpus) have a table.
METRICS = {
    "ua": "UA, unweighted accuracy: mean recall over the emotions",
    "wa": "WA, accuracy: share of all clips recognised",
    "macro_f1": "F1, mean over the emotions",
    "macro_precision": "precision, mean over the emotions",
    "macro_recall": "recall, mean over the emotions (the same as UA)",
    "loss": "log loss in nats (knowing nothing: ln of the number of emotions)",
    "ua_seed_sd": "standard deviation of UA from seed to seed",
    "n_clips": "clips",
    "n_speakers": "speakers",
    "n_folds": "folds",
    "n_seeds": "seeds",
}


def render(report: Report) -> str:
    """Fill in the page: HTML without links, scripts, dates or paths; the PNG figures are in it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell
    metrics = report.metrics
    headline = [[name, metrics[key]] for key, name in METRICS.items() if key in metrics]
    return environment.get_template("page.html.j2").render(
        metrics=metrics,
        headline=pd.DataFrame(headline, columns=["figure", "value"], dtype=object),
        chance=1 / len(report.labels),
        tables={name: table.drop(columns="protocol") for name, table in report.tables.items()},
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
        leakage=leakage_table(report.leakage),
        figures={
            file.removesuffix(".png"): {
                "source": "data:image/png;base64," + b64encode(content).decode("ascii"),
                # the header's first field, in pixels; at 128 to the inch, text is as large as ours
                "width": int.from_bytes(content[16:20]) * 128 // figures.DPI,
            }
            for file, content in report.figures.items()
            if file.endswith(".png")
        },
        examples=report.examples,
        longest_s=LONGEST_S,
        spread=SPREAD,
        settings=report.settings,
        labels=report.labels,
        epochs=len(report.plots["learning_curves"]),
        dependent=report.dependent,
        demo=report.settings["data"]["name"] == "demo",
    )


def leakage_table(leakage: Mapping[str, Any]) -> pd.DataFrame:
    """One row per fold; lists of names become text, so that an empty one reads "none"."""
    rows = [{key: _words(value) for key, value in fold.items()} for fold in leakage["folds"]]
    return pd.DataFrame(rows).rename(columns=lambda key: key.replace("_", " "))


def cell(value: Any) -> str:
    """Text of a table cell: fractions with three decimals, a dash where there is nothing."""
    if isinstance(value, float):
        return "–" if value != value else f"{value:.3f}"  # only NaN differs from itself
    return "–" if value == "" else str(value)


def _words(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return value
