"""Which emotions are taken for which others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stages.reporting.drawing import new_figure, set_title
from stages.reporting.predictions import Predictions
from stages.reporting.run import Run
from stages.reporting.section import Section


def section(run: Run) -> Section:
    """The confusion matrix as a figure, and its clips for `dvc plots`."""
    predictions = run.predictions
    figure = confusion_figure(
        predictions.confusion().sum(0),
        labels=predictions.labels,
        n_seeds=predictions.n_seeds,
        notes=run.notes,
    )
    return Section(plots={"confusion": confusion_rows(predictions)}, figures={"confusion": figure})


def confusion_rows(predictions: Predictions) -> pd.DataFrame:
    """List actual and predicted label, one row per clip and seed."""
    labels = np.array(predictions.labels)
    return pd.DataFrame(
        {
            "actual": np.repeat(labels[predictions.truth], predictions.n_seeds),
            "predicted": labels[predictions.predicted].reshape(-1),
        }
    )


def confusion_figure(
    confusion: NDArray, *, labels: Sequence[str], n_seeds: int, notes: Sequence[str]
) -> Figure:
    """Draw a confusion matrix: fraction of each actual label in per cent, with counts below.

    Parameters
    ----------
    confusion : int [classes, classes]
        actual by predicted, summed over seeds
    labels : list of str
        the classes
    n_seeds : int
    notes : list of str
        lines below the title
    """
    n = len(labels)
    figure, axes = new_figure(1.9 + 0.62 * n, 1.7 + 0.55 * n)
    support = confusion.sum(1, keepdims=True)
    share = 100 * np.divide(confusion, support, out=np.zeros((n, n)), where=support > 0)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for (row, column), count in np.ndenumerate(confusion):
        if not support[row, 0]:
            continue
        colour = "white" if share[row, column] > 55 else "black"
        style: dict[str, Any] = {"ha": "center", "color": colour}
        axes.text(column, row, f"{share[row, column]:.0f}", va="bottom", fontsize=10, **style)
        axes.text(column, row + 0.05, f"{count}", va="top", fontsize=6.5, **style)
    axes.set_xticks(range(n), labels, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(n), labels)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted emotion")
    axes.set_ylabel("actual emotion")
    clips = "clips" if n_seeds == 1 else f"clips, sum over {n_seeds} seeds"
    bar = figure.colorbar(image, ax=axes, label="% of the actual emotion", fraction=0.05)
    bar.outline.set_visible(False)
    set_title(axes, f"Confusion matrix (large: %, small: {clips})", notes)
    return figure
