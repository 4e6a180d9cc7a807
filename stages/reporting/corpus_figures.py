"""The figures of corpora: what they hold, and how it is spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from stages.reporting.drawing import COLOURS, HATCHES, MAIN, REFERENCE, new_figure, set_title


def emotions_figure(counts: pd.DataFrame, *, notes: Sequence[str]) -> Figure:
    """Make-up of each corpus: one stacked bar each, in per cent, with the clips of each label.

    Parameters
    ----------
    counts : DataFrame
        clips by corpus (rows) and label (columns)
    notes : what every title must add
    """
    figure, axes = new_figure(7, max(1.5 + 0.45 * len(counts), 0.9 + 0.2 * counts.shape[1]))
    total = counts.sum(axis=1)
    names = [f"{corpus}\n{total[corpus]} clips" for corpus in counts.index]
    _stack(axes, 100 * counts.div(total.where(total > 0, 1), axis=0), counts=counts)
    axes.set_yticks(range(len(counts)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the corpus's clips (%)")
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside right center")
    set_title(axes, "Emotions by corpus (numbers: clips)", notes)
    return figure


def counts_figure(counts: pd.DataFrame, *, heading: str, unit: str, notes: Sequence[str]) -> Figure:
    """Numbers of something: a bar for each row, a piece of it for each column, the sum at its end.

    Parameters
    ----------
    counts : int DataFrame
        at least one row and one column
    heading : str
    unit : str
        what is counted
    notes : what the title must add
    """
    figure, axes = new_figure(7, max(1.4 + 0.3 * len(counts), 0.9 + 0.2 * counts.shape[1]))
    _stack(axes, counts, counts=counts)
    for place, total in enumerate(counts.sum(axis=1)):
        axes.annotate(
            str(total), (total, place), xytext=(3, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(range(len(counts)), counts.index)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel(unit)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside right center")
    set_title(axes, heading, notes)
    return figure


def _stack(axes: Axes, lengths: pd.DataFrame, *, counts: pd.DataFrame) -> None:
    """Bars side by side along each row, of these lengths; the counts stand where there is room."""
    left = np.zeros(len(lengths))
    longest = lengths.sum(axis=1).max()
    for index, name in enumerate(lengths):
        turn, place = divmod(index, len(COLOURS))
        bars = axes.barh(
            range(len(lengths)),
            lengths[name],
            left=left,
            height=0.7,
            color=COLOURS[place],
            hatch=HATCHES[turn],
            edgecolor="white",
            linewidth=0.8,
            label=name,
        )
        texts = [
            str(n) if length >= 0.05 * longest else ""
            for n, length in zip(counts[name], lengths[name], strict=True)
        ]
        ink = "black" if np.dot(to_rgb(COLOURS[place]), (0.299, 0.587, 0.114)) > 0.45 else "white"
        clear = {"facecolor": COLOURS[place], "edgecolor": "none", "pad": 1}  # of hatching
        for text in axes.bar_label(bars, texts, label_type="center", color=ink, fontsize=8):
            text.set_bbox(clear if text.get_text() else None)
        left += lengths[name].to_numpy()


def spreads_figure(
    quantiles: Mapping[str, pd.DataFrame],
    *,
    heading: str,
    label: str,
    lowest: float | None,
    notes: Sequence[str],
) -> Figure:
    """Two quantities of one kind: where the median, the middle half and nine tenths of each lie.

    Parameters
    ----------
    quantiles : DataFrame by name of the quantity
        columns p05, p25, p50, p75, p95; the same rows in each
    heading, label : str
        the title, and what the axis shows with its unit
    lowest : float or None
        where the axis begins; None: near the lowest value
    notes : what the title must add
    """
    names = next(iter(quantiles.values())).index
    figure, axes = new_figure(7, 1.6 + 0.55 * len(names))
    for number, (quantity, table) in enumerate(quantiles.items()):
        colour = (REFERENCE, MAIN)[number]
        at = np.arange(len(table)) + 0.36 * (number - 0.5)
        axes.hlines(at, table["p05"], table["p95"], color=colour, linewidth=1.2)
        middle = {"left": table["p25"], "height": 0.24, "color": colour, "label": quantity}
        axes.barh(at, table["p75"] - table["p25"], **middle)
        axes.scatter(table["p50"], at, color="white", edgecolor=colour, s=26, zorder=3)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(left=lowest)
    axes.set_xlabel(label)
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside lower right", ncols=2)
    set_title(axes, heading, notes)
    return figure
