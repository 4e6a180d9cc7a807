"""UA and WA of each speaker, and the gap between the worst and the best."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stages.metrics.counts import accuracy, confusion_by_group, unweighted_accuracy
from stages.metrics.intervals import jackknife_interval
from stages.reporting.drawing import MAIN, new_figure, reference_lines, set_title
from stages.reporting.grouped import UNKNOWN, per_group
from stages.reporting.predictions import Predictions
from stages.reporting.run import Run
from stages.reporting.section import Section
from stages.reporting.two_sides import divide_sides, lead


def section(run: Run) -> Section:
    """The table of speakers, the gap, and both as a figure."""
    table = per_speaker(run.predictions)
    gap = speaker_gap(run.predictions, table)
    figure = speakers_figure(table, ua=run.pooled_ua["ua"], chance=run.chance, notes=run.notes)
    return Section(
        tables={"per_speaker": table, "speaker_gap": gap},
        figures={"speakers": figure},
        words={"gap": gap.iloc[0]},
    )


def per_speaker(predictions: Predictions) -> pd.DataFrame:
    """Compute UA, over the labels that a speaker has, and WA of each speaker.

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


def speaker_gap(predictions: Predictions, per_speaker: pd.DataFrame) -> pd.DataFrame:
    """Compute the gap between the speakers with the highest and the lowest figure.

    Its interval leaves out one clip of the two at a time and takes the two as given. They are the
    extremes of all speakers, so there is a gap even where speakers do not differ.

    Parameters
    ----------
    predictions : Predictions
    per_speaker : DataFrame
        see `per_speaker`

    Returns
    -------
    DataFrame
        one row for ua and one for wa: figure, speakers; worst and best (names, the first of
        equals), and of each of them <side>_value, <side>_value_low, <side>_value_high; gap,
        gap_low, gap_high; interval (left out in turn). With one speaker the gap is 0, and its
        interval empty
    """
    speakers, rows = per_speaker.set_index("speaker"), []
    for figure, statistic in (("ua", unweighted_accuracy), ("wa", accuracy)):
        row: dict[str, Any] = {"figure": figure, "speakers": len(speakers)}
        for side, place in (("worst", "idxmin"), ("best", "idxmax")):
            row[side] = getattr(speakers[figure], place)()
            own = speakers.loc[row[side]]
            row |= {f"{side}_value{end}": own[f"{figure}{end}"] for end in ("", "_low", "_high")}
        row |= {"gap": row["best_value"] - row["worst_value"], "gap_low": np.nan}
        row |= {"gap_high": np.nan, "interval": "clips"}
        if row["worst"] != row["best"]:
            chosen = predictions.clips["speaker"].isin([row["worst"], row["best"]]).to_numpy()
            names, counts = confusion_by_group(
                predictions.truth[chosen],
                predictions.predicted[chosen],
                predictions.clips["clip"][chosen],
                n_classes=len(predictions.labels),
            )
            sides = predictions.clips.groupby("clip")["speaker"].first()[names].to_numpy()
            divided, _ = divide_sides(counts, sides, names=(row["best"], row["worst"]))
            low, high = jackknife_interval(partial(lead, statistic=statistic), divided, lowest=-1.0)
            row |= {"gap_low": float(low), "gap_high": float(high)}
        rows.append(row)
    return pd.DataFrame(rows).round(6)


def speakers_figure(
    per_speaker: pd.DataFrame, *, ua: float, chance: float, notes: Sequence[str]
) -> Figure:
    """Draw the UA of each speaker with its 95 % interval, in order within each corpus.

    The lowest and the highest of each corpus have their names beside them.

    Parameters
    ----------
    per_speaker : DataFrame
        corpus, speaker, ua, ua_low, ua_high
    ua, chance : float
        pooled figure and chance level, drawn as lines
    notes : list of str
        lines below the title
    """
    groups = dict(list(per_speaker.groupby("corpus")))
    spacing = max(1.5, 0.06 * len(per_speaker))  # of corpora; speakers are 1 apart
    width = 1.2 + 0.17 * (len(per_speaker) + spacing * len(groups))
    figure, axes = new_figure(min(max(4.5, width), 9), 3.6)
    size = 26 if len(per_speaker) <= 50 else 12
    first, middles, names = 0.0, [], []
    for corpus, group in groups.items():
        group = group.sort_values("ua", kind="stable")
        places = first + np.arange(len(group))
        line: dict[str, Any] = {"color": MAIN, "linewidth": 1.0, "alpha": 0.45}
        axes.vlines(places, group["ua_low"], group["ua_high"], **line)
        dot: dict[str, Any] = {"edgecolor": "white", "linewidth": 0.4, "zorder": 3}
        axes.scatter(places, group["ua"], s=size, color=MAIN, **dot)
        for end in sorted({0, len(group) - 1}):
            lowest = not end
            axes.annotate(
                group["speaker"].iloc[end].removeprefix(f"{corpus}/"),
                (places[end], group["ua_low" if lowest else "ua_high"].iloc[end]),
                xytext=(0, -3 if lowest else 3),
                textcoords="offset points",
                ha="center",
                va="top" if lowest else "bottom",
                fontsize=7,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            )
        middles.append(places.mean())
        names.append(f"{corpus}\n{len(group)} speaker{'s' if len(group) > 1 else ''}")
        first = places[-1] + 1 + spacing
    axes.set_xticks(middles, names)
    axes.set_xlim(-spacing, first - 1)
    axes.set_ylim(-0.08, 1.08)  # room for the names
    axes.set_ylabel("UA (0 to 1), with 95 % interval")
    axes.grid(visible=False, axis="x")
    reference_lines(axes, axes.axhline, ua=ua, chance=chance)
    set_title(axes, "Unweighted accuracy of each speaker", notes)
    return figure
