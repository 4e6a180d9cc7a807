"""UA and WA of each corpus, and the emotions that it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from stages.reporting.drawing import new_figure, set_title, stacked_bars
from stages.reporting.grouped import per_corpus
from stages.reporting.run import Run
from stages.reporting.section import Section


def section(run: Run) -> Section:
    """The table of corpora, and their emotions as a figure."""
    labels, label_map = run.predictions.labels, run.settings["labels"]["map"]
    counts = emotion_counts(run.clips, labels=labels, label_map=label_map)
    return Section(
        tables={"per_corpus": per_corpus(run.predictions)},
        figures={"emotions": emotions_figure(counts, notes=run.notes)},
    )


def emotion_counts(
    clips: pd.DataFrame, *, labels: Sequence[str], label_map: Mapping[str, str | None]
) -> pd.DataFrame:
    """Count usable clips by corpus (rows) and label (columns, as given), without variants."""
    usable = clips[(clips["variant"] == "clean") & (clips["excluded"] == "")]
    mapped = usable["emotion"].map(label_map)
    return pd.crosstab(usable["corpus"], mapped).reindex(columns=labels, fill_value=0)


def emotions_figure(counts: pd.DataFrame, *, notes: Sequence[str]) -> Figure:
    """Draw the emotions of each corpus as one stacked bar, in per cent.

    Parameters
    ----------
    counts : DataFrame
        clips by corpus (rows) and label (columns)
    notes : list of str
        lines below the title
    """
    figure, axes = new_figure(7, max(1.5 + 0.45 * len(counts), 0.9 + 0.2 * counts.shape[1]))
    total = counts.sum(axis=1)
    names = [f"{corpus}\n{total[corpus]} clips" for corpus in counts.index]
    stacked_bars(axes, 100 * counts.div(total.where(total > 0, 1), axis=0), counts=counts)
    axes.set_yticks(range(len(counts)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of the clips of the corpus")
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside right center")
    set_title(axes, "Emotions by corpus (numbers: clips)", notes)
    return figure
