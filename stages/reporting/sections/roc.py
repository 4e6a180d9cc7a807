"""ROC curve of each emotion against the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from numpy.typing import NDArray

from stages.metrics.probabilities import roc_curves
from stages.reporting.drawing import MAIN, REFERENCE, new_canvas, set_title
from stages.reporting.run import Run
from stages.reporting.section import Section


def section(run: Run) -> Section | None:
    """The curves that are defined, if any is."""
    predictions = run.predictions
    curves = roc_curves(predictions.truth, predictions.probabilities)
    if not curves:
        return None
    areas, _ = predictions.roc_areas
    mean = areas.mean(0).round(6)
    figure = roc_figure(
        {predictions.labels[label]: curve for label, curve in curves.items()},
        areas=dict(zip(predictions.labels, mean, strict=True)),
        notes=run.notes,
    )
    return Section(figures={"roc": figure})


def roc_figure(
    curves: Mapping[str, NDArray], *, areas: Mapping[str, float], notes: Sequence[str]
) -> Figure:
    """Draw the ROC curve of each label against the rest, a panel each, before all the others.

    Parameters
    ----------
    curves : by label, float [2, points]
        false and true positive rate
    areas : by label
        areas under the curves
    notes : list of str
        lines below the title
    """
    columns = min(4, len(curves))
    rows = -(-len(curves) // columns)
    figure = new_canvas(0.9 + 1.75 * columns, 1.1 + 1.85 * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (label, curve) in zip(panels, curves.items(), strict=False):
        for other in curves.values():
            axes.plot(*other, color="#CCCCCC", linewidth=0.6)
        axes.plot([0, 1], [0, 1], color=REFERENCE, linewidth=1, linestyle=":")
        axes.plot(*curve, color=MAIN, linewidth=1.8)
        axes.set_title(f"{label}: {areas[label]:.3f}", fontsize=9)
        axes.set_aspect("equal")
    for axes in panels[len(curves) :]:
        axes.set_axis_off()
    for axes in panels[max(len(curves) - columns, 0) : len(curves)]:  # the lowest of each column
        axes.tick_params(labelbottom=True)
    figure.supxlabel("false positive rate", fontsize=9)
    figure.supylabel("true positive rate (recall)", fontsize=9)
    set_title(panels[0], "ROC curve of each emotion against the rest, and the area under it", notes)
    return figure
