"""Figures of a tuning study: its trials, and the importance of its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from stages.reporting.drawing import COLOURS, MAIN, REFERENCE, new_figure, set_title


def trials_figure(trials: pd.DataFrame, *, heading: str, notes: Sequence[str]) -> Figure:
    """Draw the validation UA of every trial of a study, in order, and the best so far.

    Parameters
    ----------
    trials : DataFrame
        trial, state (complete, pruned, fail), validation_ua
    heading : str
    notes : list of str
        lines below the title
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
        name = "stopped early (mean of folds so far)"
        axes.scatter(
            pruned["trial"], pruned["validation_ua"], color=COLOURS[2], marker="x", label=name
        )
    axes.set_xlabel("trial")
    axes.set_ylabel("UA of validation clips,\nmean over folds (0 to 1)")
    axes.locator_params(axis="x", integer=True)
    figure.legend(loc="outside lower right", ncols=3)
    set_title(axes, heading, notes)
    return figure


def importance_figure(
    importance: Mapping[str, float], *, heading: str, notes: Sequence[str]
) -> Figure:
    """Draw the fraction of the variance between trials that each setting explains.

    Parameters
    ----------
    importance : fraction by setting
    heading : str
    notes : list of str
        lines below the title
    """
    figure, axes = new_figure(7, 1.3 + 0.27 * len(importance))
    axes.barh(list(importance), list(importance.values()), color=MAIN, height=0.6)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("fraction of the variance between trials (functional ANOVA)")
    set_title(axes, heading, notes)
    return figure
