"""Figures and page of a comparison of experiments."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.reporting import drawing
from stages.reporting.comparison import Comparison
from stages.reporting.html import fill

#: Names of the figures.
FIGURES = ("differences", "ua", "classes")
#: A difference is called sure where the corrected p value is below this.
ALPHA = 0.05
_SURE, _LINE = drawing.COLOURS[0], drawing.COLOURS[4]
_COLUMNS = 2  # of panels, one per pair
_WIDTH = 8  # of figures, in inches


def draw(comparison: Comparison) -> dict[str, bytes]:
    """The figures of a comparison: content of PNG and SVG files by their names."""
    with drawing.style():
        drawn = (differences_figure(comparison), ua_figure(comparison), classes_figure(comparison))
        return {
            f"{name}.{kind}": drawing.encode(figure, kind)
            for name, figure in zip(FIGURES, drawn, strict=True)
            for kind in ("png", "svg")
        }


def differences_figure(comparison: Comparison) -> Figure:
    """How far each experiment is ahead in UA: a dot with its interval each, and zero as a line."""
    table = comparison.differences
    one = table["reference"].nunique() == 1
    figure, axes = _figure(len(table), each_in=0.34 if one else 0.44)
    _forest(axes, table, sure=table["p_holm"] < ALPHA, widest=_widest(table))
    names = [
        row.experiment if one else f"{row.experiment}\nto {row.reference}"
        for row in table.itertuples()
    ]
    texts = [
        f"{row.difference:+z.3f} ({row.difference_low:+z.3f} to {row.difference_high:+z.3f}), "
        f"{p_text(row.p_holm)}"
        for row in table.itertuples()
    ]
    _rows(axes, names, beside=texts)
    p = "corrected p" if len(table) > 1 else "p"
    axes.set_xlabel(f"difference in UA, 95 % interval; full dot: {p} below {ALPHA:g}")
    against = f" to {table['reference'].iloc[0]}" if one else ""
    _title(figure, f"Difference in UA{against} (right: better)", comparison)
    return figure


def ua_figure(comparison: Comparison) -> Figure:
    """UA of each experiment: a dot with its interval each, and chance as a line."""
    table = comparison.experiments
    figure, axes = _figure(len(table))
    at = np.arange(len(table))
    axes.hlines(at, table["ua_low"], table["ua_high"], color=_SURE, linewidth=1.6)
    axes.scatter(table["ua"], at, color=_SURE, s=36, zorder=3)
    texts = [f"{row.ua:.3f} ({row.ua_low:.3f} to {row.ua_high:.3f})" for row in table.itertuples()]
    _rows(axes, table["experiment"], beside=texts)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("UA, unweighted accuracy (0 to 1), with 95 % interval")
    chance = 1 / len(comparison.labels)
    axes.axvline(chance, color=_LINE, linewidth=1.2, linestyle=":", label=f"chance {chance:.3f}")
    figure.legend(loc="outside lower right")
    _title(figure, "UA of each experiment", comparison)
    return figure


def classes_figure(comparison: Comparison) -> Figure:
    """How far each experiment is ahead in the recall of each label: a panel for each pair."""
    pairs = dict(list(comparison.classes.groupby(["reference", "experiment"], sort=False)))
    columns = min(_COLUMNS, len(pairs))
    lines = -(-len(pairs) // columns)
    tall = 0.75 + 0.26 * comparison.classes["label"].nunique()
    figure = Figure(figsize=(_WIDTH, 1.1 + lines * tall))
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, ((reference, experiment), table) in zip(panels, pairs.items(), strict=False):
        sure = (table["difference_low"] > 0) | (table["difference_high"] < 0)
        _forest(axes, table, sure=sure, widest=_widest(comparison.classes))
        _rows(axes, table["label"])
        axes.set_title(f"{experiment}\nto {reference}", loc="left", fontsize=9)
        axes.tick_params(labelbottom=True)
    for axes in panels[len(pairs) :]:
        axes.set_axis_off()
    label = "difference in recall, 95 % interval; full dot: without 0"
    figure.supxlabel(label, fontsize=9)
    _title(figure, "Difference in the recall of each emotion (right: better)", comparison)
    return figure


def _forest(axes: Axes, table: pd.DataFrame, *, sure: pd.Series, widest: float) -> None:
    """Differences with their intervals, one row each, zero in the middle; full dots where sure."""
    at = np.arange(len(table))
    colours = np.where(sure, _SURE, _LINE)
    axes.axvline(0, color="black", linewidth=0.8, zorder=1)
    axes.hlines(at, table["difference_low"], table["difference_high"], color=colours, linewidth=1.6)
    dots = {"color": np.where(sure, _SURE, "white"), "edgecolor": colours, "linewidth": 1.4}
    axes.scatter(table["difference"], at, **dots, s=36, zorder=3)
    axes.set_xlim(-widest, widest)


def _widest(table: pd.DataFrame) -> float:
    """How far to draw to either side; something also where all differences are 0."""
    return max(1.1 * table[["difference_low", "difference_high"]].abs().to_numpy().max(), 0.02)


def _rows(axes: Axes, names: Iterable[str], *, beside: Sequence[str] = ()) -> None:
    """Name the rows of a figure, from top to bottom, and say something to the right of each."""
    names = list(names)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    if beside:
        right = axes.secondary_yaxis("right")
        right.set_yticks(range(len(names)), beside)
        right.tick_params(length=0)
        right.spines[:].set_visible(False)


def _figure(rows: int, *, each_in: float = 0.34) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, 1.5 + each_in * rows))
    return figure, figure.subplots()


def _title(figure: Figure, text: str, comparison: Comparison) -> None:
    lines = [text, *textwrap.wrap(heading(comparison), 90), *comparison.notes]
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=10.5)


def heading(comparison: Comparison) -> str:
    """On what the experiments were compared."""
    first = comparison.experiments.iloc[0]
    corpora = ", ".join(comparison.corpora)
    return f"{corpora}: {first['clips']} clips, {first['speakers']} speakers, {comparison.title}"


def sentences(comparison: Comparison) -> list[str]:
    """What came out, in a plain sentence for each pair."""
    table = comparison.differences
    return [_sentence(row, pairs=len(table)) for row in table.itertuples()]


def _sentence(row: NamedTuple, *, pairs: int) -> str:
    numbers = f"95 % interval {row.difference_low:+z.3f} to {row.difference_high:+z.3f}"
    numbers += f", {p_text(row.p)}"
    if pairs > 1:
        numbers += f", corrected for {pairs} comparisons {p_text(row.p_holm)}"
    if row.difference == 0:
        return f"{row.experiment} and {row.reference} have the same UA ({numbers})."
    place = "ahead of" if row.difference > 0 else "behind"
    units = f"{row.units} {row.interval}" + " of one speaker" * (row.interval == "clips")
    could = f"the choice of {units} alone could explain that"
    if row.p_holm < ALPHA:
        could = f"the choice of {units} alone hardly explains that"
    by = f"{abs(row.difference):.3f} UA"
    return f"{row.experiment} is {place} {row.reference} by {by} ({numbers}): {could}."


def p_text(p: float) -> str:
    """A p value with three decimals."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def render(comparison: Comparison, *, drawn: Mapping[str, bytes]) -> str:
    """Fill in the page: HTML without links, scripts, dates or paths; the PNG figures are in it.

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
        files=drawn,
        comparison=comparison,
        heading=heading(comparison),
        sentences=sentences(comparison),
        tables={
            "experiments": experiments[[*own, *spread, "wa", "macro_f1"]],
            "differences": differences[[*names, *interval, "p", *corrected, "left_out"]],
            "accuracy": differences[[*names, *(f"wa_{name}" for name in interval), *right]],
            "classes": classes[[*names, *recalls, *interval, "left_out"]],
        },
        pairs=len(differences),
        alpha=ALPHA,
        chance=1 / len(comparison.labels),
        first=experiments.iloc[0],
        seeds=sorted(set(experiments["seeds"])),
        demo="synthetic demo speech" in comparison.notes,
    )


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """Say in one column what was left out in turn and how often; no p value that reads as 0."""
    tests = [column for column in ("p", "p_holm", "mcnemar_p", "mcnemar_p_holm") if column in table]
    words = {
        column: [f"{p:.3f}" if p >= 0.001 else "< 0.001" for p in table[column]] for column in tests
    }
    return table.assign(left_out=table["units"].astype(str) + " " + table["interval"], **words)
