"""The figures of choices: what features, splits, models and settings are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stages.reporting.drawing import (
    COLOURS,
    MAIN,
    REFERENCE,
    new_figure,
    reference_lines,
    set_title,
)

_KINDS = ((REFERENCE, "D"), (MAIN, "o"), (COLOURS[2], "s"))  # of rows, in turn


def differences_figure(
    table: pd.DataFrame,
    *,
    heading: str,
    reference: str,
    kinds: Sequence[int],
    chance: float,
    notes: Sequence[str],
) -> Figure:
    """Unweighted accuracy of several systems with its 95 % interval, one row each.

    To the right of each row stands its difference to the first row in words, because intervals that
    overlap say little of two systems that were run on the same speakers.

    Parameters
    ----------
    table : DataFrame
        in the first column each system's name; ua, ua_low, ua_high, difference, difference_low,
        difference_high; in the first row what all are compared with
    heading : str
        what was compared, and on what
    reference : str
        what the first row is
    kinds : int [rows]
        0 for the first row, then rising, 2 at most; rows of a kind stand together
    chance : float
        chance level, drawn as a line
    notes : what every title must add
    """
    kind = np.asarray(kinds)
    places = np.arange(len(table)) + 0.5 * kind
    figure, axes = new_figure(7, 2.1 + 0.27 * places[-1])
    for number, (colour, marker) in enumerate(_KINDS):
        rows, at = table[kind == number], places[kind == number]
        axes.hlines(at, rows["ua_low"], rows["ua_high"], color=colour, linewidth=1.6)
        axes.scatter(rows["ua"], at, color=colour, marker=marker, s=36, zorder=3)
    axes.set_yticks(places, table.iloc[:, 0])
    axes.set_ylim(places[-1] + 0.6, -0.6)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("UA, unweighted accuracy (0 to 1), with 95 % interval")
    axes.grid(visible=False, axis="y")
    texts = [
        f"{row.difference:+z.3f} ({row.difference_low:+z.3f} to {row.difference_high:+z.3f})"
        for row in table.iloc[1:].itertuples()
    ]
    beside = axes.secondary_yaxis("right")
    beside.set_yticks(places, [f"difference to {reference}, 95 % interval", *texts])
    beside.tick_params(length=0)
    beside.spines[:].set_visible(False)
    name = f"UA of {reference}"
    reference_lines(axes, axes.axvline, ua=table["ua"].iloc[0], chance=chance, name=name)
    set_title(axes, heading, notes)
    return figure


def models_figure(
    models: pd.DataFrame, *, heading: str, chance: float, notes: Sequence[str]
) -> Figure:
    """Unweighted accuracy of each model with its interval, and what the model costs, a row each.

    Parameters
    ----------
    models : DataFrame
        experiment, ua, ua_low, ua_high, parameters, checkpoint_mb, epoch_s
    heading : str
    chance : float
        chance level, drawn as a line
    notes : what the title must add
    """
    figure, axes = new_figure(7.5, 1.7 + 0.3 * len(models))
    places = np.arange(len(models))
    axes.hlines(places, models["ua_low"], models["ua_high"], color=MAIN, linewidth=1.6)
    axes.scatter(models["ua"], places, color=MAIN, s=36, zorder=3)
    axes.axvline(chance, color=REFERENCE, linestyle=":", label=f"chance {chance:.3f}")
    axes.set_yticks(places, models["experiment"])
    axes.set_ylim(len(models) - 0.4, -1.0)
    axes.set_xlim(0, 1)
    axes.set_xlabel("UA, unweighted accuracy (0 to 1), with 95 % interval")
    axes.grid(visible=False, axis="y")
    texts = [
        f"{row.ua:.3f}  {row.parameters:>9,}  {row.checkpoint_mb:5.2f} MB  {row.epoch_s:6.2f} s"
        for row in models.itertuples()
    ]
    beside = axes.secondary_yaxis("right")
    beside.set_yticks([-0.8, *places], ["UA, parameters, file, epoch", *texts])
    beside.tick_params(length=0)
    beside.spines[:].set_visible(False)
    figure.legend(loc="outside lower right")
    set_title(axes, heading, notes)
    return figure


def trials_figure(trials: pd.DataFrame, *, heading: str, notes: Sequence[str]) -> Figure:
    """Validation UA of every trial of a study, in their order, and the best so far.

    Parameters
    ----------
    trials : DataFrame
        trial, state (complete, pruned, fail), validation_ua
    heading : str
    notes : what the title must add
    """
    figure, axes = new_figure(7, 3.2)
    complete = trials[trials["state"] == "complete"]
    pruned = trials[trials["state"] == "pruned"]
    axes.step(
        complete["trial"],
        complete["validation_ua"].cummax(),
        where="post",
        color=REFERENCE,
        label="best so far",
    )
    axes.scatter(complete["trial"], complete["validation_ua"], color=MAIN, label="trial", zorder=3)
    if len(pruned):
        name = "stopped early (mean of its folds so far)"
        axes.scatter(
            pruned["trial"], pruned["validation_ua"], color=COLOURS[2], marker="x", label=name
        )
    axes.set_xlabel("trial")
    axes.set_ylabel("UA on validation clips,\nmean over folds (0 to 1)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(loc="outside lower right", ncols=3)
    set_title(axes, heading, notes)
    return figure


def importance_figure(
    importance: Mapping[str, float], *, heading: str, notes: Sequence[str]
) -> Figure:
    """How much of the differences between trials each setting explains.

    Parameters
    ----------
    importance : share by setting
    heading : str
    notes : what the title must add
    """
    figure, axes = new_figure(7, 1.3 + 0.27 * len(importance))
    axes.barh(list(importance), list(importance.values()), color=MAIN, height=0.6)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("share of the differences between trials (functional ANOVA)")
    set_title(axes, heading, notes)
    return figure
