"""How training went, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from stages.reporting.drawing import MAIN, TRAIN, new_canvas, new_figure, set_title
from stages.reporting.run import Run
from stages.reporting.section import Section

_DASHES = {"train": "--", "validation": "-"}


def section(run: Run) -> Section:
    """Loss and UA as a figure, and their means for `dvc plots`."""
    training = held_out_jobs(run.training)
    curves = learning_curves(training)
    return Section(
        plots={"learning_curves": curves},
        figures={"history": history_figure(training, notes=run.notes)},
        words={"epochs": len(curves)},
    )


def held_out_jobs(training: pd.DataFrame) -> pd.DataFrame:
    """Leave out the job `all`, which holds no clip out."""
    return training[training["fold"] != "all"]


def learning_curves(training: pd.DataFrame) -> pd.DataFrame:
    """Average over the jobs still running at each epoch, one row per epoch."""
    curves = ["train_loss", "validation_loss", "train_ua", "validation_ua"]
    return training.groupby("epoch")[curves].mean().round(6).reset_index()


def history_figure(training: pd.DataFrame, *, notes: Sequence[str]) -> Figure:
    """Draw loss and unweighted accuracy by epoch: thin lines for jobs, bold ones for their mean.

    Parameters
    ----------
    training : DataFrame
        fold, seed, epoch, train_loss, validation_loss, train_ua, validation_ua
    notes : list of str
        lines below the title
    """
    title = "Training history"
    if not training["epoch"].max() > 1:  # also without any row
        figure, axes = new_figure(7, 1.0)
        axes.set_axis_off()
        text = f"One epoch only: {len(training)} jobs with one row each, no curve to draw."
        axes.text(0, 0.5, text, transform=axes.transAxes, va="center")
        set_title(axes, title, notes)
        return figure
    figure = new_canvas(7, 3.4)
    panels = figure.subplots(1, 2)
    labels = {"loss": "loss (nats)", "ua": "unweighted accuracy (0 to 1)"}
    for axes, (quantity, label) in zip(panels, labels.items(), strict=True):
        for part, colour in (("train", TRAIN), ("validation", MAIN)):
            column = f"{part}_{quantity}"
            if training[column].isna().all():  # no clip validates
                continue
            for _, job in training.groupby(["fold", "seed"]):
                axes.plot(job["epoch"], job[column], color=colour, linewidth=0.6, alpha=0.4)
            mean = training.groupby("epoch")[column].mean()
            axes.plot(mean.index, mean, _DASHES[part], color=colour, linewidth=2, label=part)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.locator_params(axis="x", integer=True)
        axes.margins(x=0.02)
    panels[0].set_ylim(bottom=0)
    panels[1].set_ylim(0, 1)
    panels[0].legend()
    set_title(panels[0], title, notes)
    return figure
