"""Recall, precision and other figures of each emotion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stages.metrics.counts import Statistic, f1, matthews, one_against_rest, precision, recall
from stages.metrics.intervals import (
    Interval,
    as_columns,
    interval_of_replicates,
    left_out,
    mean_interval,
)
from stages.metrics.probabilities import in_top, squared_errors
from stages.reporting.drawing import MAIN, new_figure, reference_lines, set_title
from stages.reporting.predictions import Predictions
from stages.reporting.run import Run
from stages.reporting.section import Section

#: Figures of each class, [..., classes].
_OF_COUNTS = {
    "recall": recall,
    "precision": precision,
    "f1": f1,
    "mcc": lambda counts: matthews(one_against_rest(counts)),
}
#: Least value of a figure, if not 0.
_LOWEST = {"mcc": -1.0}


def section(run: Run) -> Section:
    """The table of labels, and their recall as a figure."""
    table = per_class(run.predictions)
    figure = recall_figure(table, ua=run.pooled_ua["ua"], chance=run.chance, notes=run.notes)
    return Section(tables={"per_class": table}, figures={"recall": figure})


def per_class(predictions: Predictions) -> pd.DataFrame:
    """Compute the figures of each label against the rest, averaged over seeds, with intervals.

    Returns
    -------
    DataFrame
        one row per label: label, support (clips), interval, and of each figure itself, <figure>_low
        and <figure>_high: recall, precision, f1, mcc (Matthews), top2 (fraction of the label's
        clips of which it is one of the two most probable), roc_area, brier. The intervals of recall
        and top2 leave out speakers with clips of the label, or clips where there is one; those of
        the other figures leave out any speaker. A label without clips has no recall, top2, roc_area
        and intervals; a label that all clips have has no roc_area
    """
    speakers, confusion = predictions.speakers, predictions.confusion()
    answers = (predictions.truth, predictions.probabilities)
    second, squares = in_top(*answers, k=2), squared_errors(*answers)
    _, unit = left_out(speakers)
    areas, replicates = (found.mean(-2) for found in predictions.roc_areas)
    rows = []
    for label, name in enumerate(predictions.labels):
        own = predictions.truth == label
        row: dict[str, Any] = {"label": name, "support": int(own.sum()), "interval": ""}
        row |= {figure: metric(confusion)[:, label].mean() for figure, metric in _OF_COUNTS.items()}
        row["brier"] = squares[..., label].mean()
        if own.any():
            intervals = _count_intervals(predictions, label=label)
            intervals["top2"] = mean_interval(second[own], speakers[own])
            intervals["brier"] = mean_interval(squares[..., label], speakers)
            row |= {"top2": second[own].mean(), "roc_area": areas[label]}
            if not own.all():
                low, high = interval_of_replicates(areas[label], replicates[:, label])
                intervals["roc_area"] = Interval(float(low), float(high), unit)
            for figure, interval in intervals.items():
                row |= as_columns(figure, row[figure], interval)
            row["interval"] = intervals["recall"].unit
        rows.append(row)
    figures = [*_OF_COUNTS, "top2", "roc_area", "brier"]
    columns = [f"{figure}{end}" for figure in figures for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["label", "support", "interval", *columns]).round(6)


def _count_intervals(predictions: Predictions, *, label: int) -> dict[str, Interval]:
    """Intervals of the figures of one label that are functions of counts."""
    own = predictions.select(predictions.truth == label)
    intervals = {}
    for figure, statistic in _OF_COUNTS.items():

        def one(confusions: NDArray, statistic: Statistic = statistic) -> NDArray:
            return statistic(confusions)[..., label]

        # Speakers without clips of the label say nothing about its recall.
        tested = own if figure == "recall" else predictions
        intervals[figure] = tested.interval(one, lowest=_LOWEST.get(figure, 0.0))
    return intervals


def recall_figure(
    per_class: pd.DataFrame, *, ua: float, chance: float, notes: Sequence[str]
) -> Figure:
    """Draw the recall of each label with its 95 % interval.

    Parameters
    ----------
    per_class : DataFrame
        label, recall, recall_low, recall_high, support; labels without clips are left out
    ua, chance : float
        mean recall and chance level, drawn as lines
    notes : list of str
        lines below the title
    """
    table = per_class[per_class["support"] > 0]
    figure, axes = new_figure(6, 1.7 + 0.32 * len(table))
    places = np.arange(len(table))
    axes.hlines(places, table["recall_low"], table["recall_high"], color=MAIN, linewidth=1.6)
    axes.scatter(table["recall"], places, color=MAIN, s=36, zorder=3)
    names = [f"{row.label} ({row.support} clips)" for row in table.itertuples()]
    axes.set_yticks(places, names)
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("recall (0 to 1), with 95 % interval")
    axes.grid(visible=False, axis="y")
    reference_lines(axes, axes.axvline, ua=ua, chance=chance)
    set_title(axes, "Recall of each emotion", notes)
    return figure
