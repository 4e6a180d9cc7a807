"""What noise, rooms and telephones cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stages.reporting.drawing import COLOURS, MAIN, REFERENCE, new_canvas, set_title
from stages.reporting.html import with_intervals
from stages.reporting.run import Run
from stages.reporting.section import Section

_CURVES = ((MAIN, "o"), (COLOURS[2], "s"), (COLOURS[6], "^"), (COLOURS[7], "D"))


def section(run: Run) -> Section | None:
    """The curves, and the table of the stage `robustness`, if degradations were chosen."""
    table = run.robustness
    if table.empty:
        return None
    levels = ["" if np.isnan(level) else f"{level:g}" for level in table["level"]]
    shown = table.assign(level=levels).drop(columns="protocol")
    return Section(
        figures={"robustness": robustness_figure(table, chance=run.chance, notes=run.notes)},
        words={"robustness": with_intervals(shown)},
    )


def robustness_figure(table: pd.DataFrame, *, chance: float, notes: Sequence[str]) -> Figure:
    """Draw the UA of degraded clips with its 95 % interval, a panel for each unit.

    Parameters
    ----------
    table : DataFrame
        see `robustness_table`; the first row is for the clean clips
    chance : float
        chance level, drawn as a line
    notes : list of str
        lines below the title
    """
    clean, units = table.iloc[0], dict(list(table.iloc[1:].groupby("unit", sort=False)))
    columns = min(2, len(units))
    rows = -(-len(units) // columns)
    figure = new_canvas(0.6 + 3.3 * max(2, columns), 1.3 + 2.4 * rows)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for axes, (unit, own) in zip(panels, units.items(), strict=False):
        band = axes.axhspan(clean["ua_low"], clean["ua_high"], color="#E8E8E8", zorder=0)
        line: dict[str, Any] = {"color": REFERENCE, "linewidth": 1.2, "zorder": 1}
        whole = axes.axhline(clean["ua"], **line)
        guess = axes.axhline(chance, linestyle=":", **line)
        if unit:
            named = dict(list(own.groupby("degradation", sort=False)))
            levels = sorted(set(own["level"]))
            axes.set_xticks(levels, [f"{level:g}" for level in levels])
            axes.set_xlabel(f"level ({unit})")
        else:  # degradations without an amount stand beside each other, by name
            named = {"": own.assign(level=np.arange(len(own)))}
            axes.set_xticks(range(len(own)), own["degradation"])
            axes.set_xlim(-0.7, len(own) - 0.3)
        spacing = 0.013 * np.ptp(own["level"]) if unit else 0.0  # so that all intervals show
        for number, (name, curve) in enumerate(named.items()):
            colour, marker = _CURVES[number % len(_CURVES)]
            places = curve["level"] + spacing * (number - (len(named) - 1) / 2)
            line_style = {"color": colour, "marker": marker, "markersize": 4.5, "linewidth": 1.3}
            dashes = "-" if unit else ""
            axes.plot(places, curve["ua"], linestyle=dashes, label=name, **line_style)
            axes.vlines(places, curve["ua_low"], curve["ua_high"], color=colour, linewidth=1.1)
        if unit:
            corner = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
            curves = [line for line in axes.get_lines() if line.get_label() in named]
            axes.legend(handles=curves, ncols=len(_CURVES), fontsize=8, **corner)
        axes.set_ylim(-0.02, 1.02)
    names = [f"clean clips {clean['ua']:.3f}", "95 % interval", f"chance {chance:.3f}"]
    figure.legend([whole, band, guess], names, loc="outside lower right", ncols=3)
    for axes in panels[len(units) :]:
        axes.set_axis_off()
    figure.supylabel("UA, unweighted accuracy (0 to 1)", fontsize=9)
    set_title(panels[0], "Unweighted accuracy of degraded clips, with 95 % intervals", notes)
    return figure
