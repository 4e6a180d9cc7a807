"""Figures and HTML page of a comparison of experiments."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.reporting.drawing import (
    MAIN,
    REFERENCE,
    encode_all,
    label_right,
    new_canvas,
    new_figure,
    set_title,
    style,
)
from stages.reporting.html import fill
from studies.comparison import Comparison

#: Names of the figures.
FIGURES = ("differences", "ua", "classes")
#: A difference is called significant where the corrected p value is below this.
ALPHA = 0.05
_COLUMNS = 2  # of panels, one per pair
_WIDTH = 8  # of figures, in inches


def draw(comparison: Comparison) -> dict[str, bytes]:
    """Draw the figures of a comparison as PNG and SVG, by file name."""
    makers = (differences_figure, ua_figure, classes_figure)
    with style():
        figures = [make(comparison) for make in makers]
        return encode_all(dict(zip(FIGURES, figures, strict=True)))


def differences_figure(comparison: Comparison) -> Figure:
    """Draw the difference in UA of each pair with its interval, and a line at zero."""
    table = comparison.differences
    one = table["reference"].nunique() == 1
    figure, axes = new_figure(_WIDTH, 1.5 + (0.34 if one else 0.44) * len(table))
    _forest(axes, table, certain=table["p_holm"] < ALPHA, widest=_widest(table))
    names = [
        row.experiment if one else f"{row.experiment}\nvs. {row.reference}"
        for row in table.itertuples()
    ]
    texts = [
        f"{row.difference:+z.3f} ({row.difference_low:+z.3f} to {row.difference_high:+z.3f}), "
        f"{p_text(row.p_holm)}"
        for row in table.itertuples()
    ]
    _rows(axes, names)
    label_right(axes, range(len(table)), texts)
    p = "corrected p" if len(table) > 1 else "p"
    axes.set_xlabel(f"difference in UA, 95 % interval; filled dot: {p} below {ALPHA:g}")
    against = f" to {table['reference'].iloc[0]}" if one else ""
    set_title(axes, f"Difference in UA{against} (positive: better)", _notes(comparison))
    return figure


def ua_figure(comparison: Comparison) -> Figure:
    """Draw the UA of each experiment with its interval, and a line at chance."""
    table = comparison.experiments
    figure, axes = new_figure(_WIDTH, 1.5 + 0.34 * len(table))
    places = np.arange(len(table))
    axes.hlines(places, table["ua_low"], table["ua_high"], color=MAIN, linewidth=1.6)
    axes.scatter(table["ua"], places, color=MAIN, s=36, zorder=3)
    texts = [f"{row.ua:.3f} ({row.ua_low:.3f} to {row.ua_high:.3f})" for row in table.itertuples()]
    _rows(axes, table["experiment"])
    label_right(axes, range(len(table)), texts)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("UA, unweighted accuracy (0 to 1), with 95 % interval")
    chance = 1 / len(comparison.labels)
    line: dict[str, Any] = {"color": REFERENCE, "linewidth": 1.2, "linestyle": ":"}
    axes.axvline(chance, label=f"chance {chance:.3f}", **line)
    figure.legend(loc="outside lower right")
    set_title(axes, "UA of each experiment", _notes(comparison))
    return figure


def classes_figure(comparison: Comparison) -> Figure:
    """Draw the difference in the recall of each label, one panel per pair."""
    pairs = dict(list(comparison.classes.groupby(["reference", "experiment"], sort=False)))
    columns = min(_COLUMNS, len(pairs))
    lines = -(-len(pairs) // columns)
    tall = 0.75 + 0.26 * comparison.classes["label"].nunique()
    figure = new_canvas(_WIDTH, 1.1 + lines * tall)
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, ((reference, experiment), table) in zip(panels, pairs.items(), strict=False):
        certain = (table["difference_low"] > 0) | (table["difference_high"] < 0)
        _forest(axes, table, certain=certain, widest=_widest(comparison.classes))
        _rows(axes, table["label"])
        axes.set_title(f"{experiment}\nvs. {reference}", loc="left", fontsize=9)
        axes.tick_params(labelbottom=True)
    for axes in panels[len(pairs) :]:
        axes.set_axis_off()
    label = "difference in recall, 95 % interval; filled dot: excludes 0"
    figure.supxlabel(label, fontsize=9)
    title = "Difference in the recall of each emotion (positive: better)"
    set_title(panels[0], title, _notes(comparison))
    return figure


def _forest(axes: Axes, table: pd.DataFrame, *, certain: pd.Series, widest: float) -> None:
    """Draw differences with their intervals, zero in the middle, filled dots where certain."""
    places = np.arange(len(table))
    colours = np.where(certain, MAIN, REFERENCE)
    axes.axvline(0, color="black", linewidth=0.8, zorder=1)
    axes.hlines(
        places, table["difference_low"], table["difference_high"], color=colours, linewidth=1.6
    )
    dots: dict[str, Any] = {"color": np.where(certain, MAIN, "white"), "edgecolor": colours}
    axes.scatter(table["difference"], places, linewidth=1.4, s=36, zorder=3, **dots)
    axes.set_xlim(-widest, widest)


def _widest(table: pd.DataFrame) -> float:
    """Return the range to draw on either side of 0; above 0 even if all differences are 0."""
    return max(1.1 * table[["difference_low", "difference_high"]].abs().to_numpy().max(), 0.02)


def _rows(axes: Axes, names: Iterable[str]) -> None:
    """Name the rows of a figure, from top to bottom."""
    names = list(names)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def _notes(comparison: Comparison) -> list[str]:
    """Return the lines below each title."""
    return [*textwrap.wrap(tested_on(comparison), 90), *comparison.notes]


def tested_on(comparison: Comparison) -> str:
    """Name the corpora, clips, speakers and protocol of a comparison."""
    first = comparison.experiments.iloc[0]
    corpora = ", ".join(comparison.corpora)
    return f"{corpora}: {first['clips']} clips, {first['speakers']} speakers, {comparison.title}"


def sentences(comparison: Comparison) -> list[str]:
    """Put the outcome of each pair in a plain sentence."""
    table = comparison.differences
    return [_sentence(row, pairs=len(table)) for row in table.itertuples()]


def _sentence(row: Any, *, pairs: int) -> str:
    numbers = f"95 % interval {row.difference_low:+z.3f} to {row.difference_high:+z.3f}"
    numbers += f", {p_text(row.p)}"
    if pairs > 1:
        numbers += f", corrected for {pairs} comparisons {p_text(row.p_holm)}"
    if row.difference == 0:
        return f"{row.experiment} and {row.reference} have the same UA ({numbers})."
    place = "ahead of" if row.difference > 0 else "behind"
    units = f"{row.units} {row.interval}" + " of one speaker" * (row.interval == "clips")
    verdict = f"the choice of {units} alone could explain that"
    if row.difference_low == row.difference_high:
        verdict = (
            f"all {units} differ by the same amount, so the interval has no width and tells nothing"
        )
    elif row.p_holm < ALPHA:
        verdict = f"the choice of {units} alone hardly explains that"
    lead = f"{abs(row.difference):.3f} UA"
    return f"{row.experiment} is {place} {row.reference} by {lead} ({numbers}): {verdict}."


def p_text(p: float) -> str:
    """Write a p value with three decimals."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def render(comparison: Comparison, *, drawn: Mapping[str, bytes]) -> str:
    """Render the page with its figures.

    Parameters
    ----------
    comparison : Comparison
    drawn : mapping
        see `draw`
    """
    experiments = comparison.experiments
    differences, classes = _readable(comparison.differences), _readable(comparison.classes)
    names = ["reference", "experiment"]
    interval = ["difference", "difference_low", "difference_high"]
    corrected = ["p_holm"] if len(differences) > 1 else []
    right = ["clips_better", "clips_worse", "mcnemar_p", *(f"mcnemar_{c}" for c in corrected)]
    spread = ["ua_seed_sd"] if experiments["seeds"].max() > 1 else []
    own = ["experiment", "commit", "model", "features", "seeds", "ua", "ua_low", "ua_high"]
    recalls = ["label", "clips", "recall_reference", "recall"]
    return fill(
        "comparison.html.j2",
        folder=Path(__file__).parent,
        files=drawn,
        comparison=comparison,
        heading=tested_on(comparison),
        sentences=sentences(comparison),
        tables={
            "experiments": experiments[[*own, *spread, "wa", "macro_f1"]],
            "differences": differences[[*names, *interval, "p", *corrected, "left_out"]],
            "accuracy": differences[[*names, *(f"wa_{name}" for name in interval), *right]],
            "classes": classes[[*names, *recalls, *interval, "left_out"]],
        },
        pairs=len(differences),
        alpha=ALPHA,
        first=experiments.iloc[0],
        seeds=sorted(set(experiments["seeds"])),
        demo="synthetic demo speech" in comparison.notes,
    )


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """Join units and their number in one column, and write small p values as "< 0.001"."""
    tests = [column for column in ("p", "p_holm", "mcnemar_p", "mcnemar_p_holm") if column in table]
    words = {
        column: [f"{p:.3f}" if p >= 0.001 else "< 0.001" for p in table[column]] for column in tests
    }
    return table.assign(left_out=table["units"].astype(str) + " " + table["interval"], **words)
