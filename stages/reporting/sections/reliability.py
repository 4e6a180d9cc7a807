"""Whether probabilities are calibrated, before and after temperature scaling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stages.metrics.probabilities import BINS, reliability
from stages.reporting.drawing import COLOURS, MAIN, REFERENCE, new_canvas, set_title
from stages.reporting.predictions import Predictions
from stages.reporting.run import Run
from stages.reporting.section import Section


def section(run: Run) -> Section:
    """Reliability as a table and a figure, and the temperatures, if any could be fitted."""
    stages = {"as they are": run.predictions}
    tables = {}
    if run.calibrated and run.temperatures is not None:
        stages["after temperature scaling"] = run.calibrated
        tables["temperatures"] = run.temperatures
    tables["reliability"] = reliability_table(stages)
    shared_validation = sum(
        bool(fold["validation_shares_speakers"] and fold["test_clips"])
        for fold in run.leakage["folds"]
    )
    return Section(
        tables=tables,
        figures={"reliability": reliability_figure(tables["reliability"], notes=run.notes)},
        words={"shared_validation": shared_validation},
    )


def reliability_table(stages: Mapping[str, Predictions]) -> pd.DataFrame:
    """Compare confidence and accuracy in each bin of confidence.

    Parameters
    ----------
    stages : Predictions by name
        such as before and after scaling

    Returns
    -------
    DataFrame
        one row per name and bin: probabilities (the name), from, to (confidence; the upper end
        belongs to the bin), answers (clips times seeds), confidence and accuracy (means, empty
        where a bin has no answer)
    """
    tables = []
    for name, predictions in stages.items():
        one_group = np.zeros(len(predictions.truth))
        sums = reliability(predictions.truth, predictions.probabilities, one_group)[0].sum(0)
        answers = sums[:, 0].astype(int)
        means = sums[:, 1:] / np.where(answers, answers, np.nan)[:, None]
        edges = np.arange(BINS + 1) / BINS
        table = {"probabilities": name, "from": edges[:-1], "to": edges[1:], "answers": answers}
        tables.append(pd.DataFrame(table | {"confidence": means[:, 0], "accuracy": means[:, 1]}))
    return pd.concat(tables, ignore_index=True).round(6)


def reliability_figure(reliability: pd.DataFrame, *, notes: Sequence[str]) -> Figure:
    """Draw accuracy over confidence, and below it the number of answers in each bin.

    Parameters
    ----------
    reliability : DataFrame
        see `reliability_table`; one or two kinds of probabilities
    notes : list of str
        lines below the title
    """
    figure = new_canvas(6, 5.6)
    groups = reliability.groupby("probabilities", sort=False)
    ratios = [3.2, *[1.0] * len(groups)]
    top, *counts = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios)
    ideal: dict[str, Any] = {"color": REFERENCE, "linewidth": 1.2, "linestyle": ":"}
    top.plot([0, 1], [0, 1], label="perfect calibration", **ideal)
    for axes, (kind, table), (colour, marker) in zip(
        counts, groups, ((COLOURS[2], "s"), (MAIN, "o")), strict=False
    ):
        top.plot(table["confidence"], table["accuracy"], color=colour, linewidth=0.8, alpha=0.5)
        sizes = 6 + 84 * table["answers"] / table["answers"].max()
        point = {"color": colour, "marker": marker, "zorder": 3, "label": kind}
        top.scatter(table["confidence"], table["accuracy"], s=sizes, **point)
        width = table["to"] - table["from"]
        bars = axes.bar(table["from"], table["answers"], width, align="edge", color=colour)
        axes.bar_label(bars, [str(n) if n else "" for n in table["answers"]], fontsize=6.5)
        axes.set_ylabel("number of answers")
        axes.margins(y=0.25)
        axes.grid(visible=False, axis="x")
    top.set_xlim(0, 1)
    top.set_ylim(-0.03, 1.03)
    top.set_ylabel("fraction of correct answers")
    counts[-1].set_xlabel("probability of the answer (15 bins of equal width)")
    figure.legend(loc="outside lower right", ncols=3)
    set_title(top, "Reliability of the predicted probabilities", notes)
    return figure
