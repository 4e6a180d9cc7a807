"""The figures of a run: what its model recognises, of whom, and how surely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stages.reporting.drawing import (
    COLOURS,
    MAIN,
    MARKERS,
    REFERENCE,
    TRAIN,
    new_canvas,
    new_figure,
    reference_lines,
    set_title,
)

_CURVES = ((MAIN, "o"), (COLOURS[2], "s"), (COLOURS[6], "^"), (COLOURS[7], "D"))
_GROUPS = 6  # more markers than this cannot be told apart where colours stand for something else
_DASHES = {"train": "--", "validation": "-"}


def confusion_figure(
    confusion: NDArray, *, labels: Sequence[str], n_seeds: int, notes: Sequence[str]
) -> Figure:
    """Confusion matrix: share of each actual label in per cent, with the counts below.

    Parameters
    ----------
    confusion : int [classes, classes]
        actual by predicted, summed over seeds
    labels : names of the classes
    n_seeds : int
    notes : what every title must add, such as "speaker-dependent"
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
        place = {"ha": "center", "color": colour}
        text = f"{share[row, column]:.0f}"
        axes.text(column, row, text, va="bottom", fontsize=10, **place)
        axes.text(column, row + 0.05, f"{count}", va="top", fontsize=6.5, **place)
    axes.set_xticks(range(n), labels, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(n), labels)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted emotion")
    axes.set_ylabel("actual emotion")
    clips = "clips" if n_seeds == 1 else f"clips, {n_seeds} seeds added up"
    bar = figure.colorbar(image, ax=axes, label="share of the actual emotion (%)", fraction=0.05)
    bar.outline.set_visible(False)
    set_title(axes, f"Confusion (large: %, small: {clips})", notes)
    return figure


def history_figure(training: pd.DataFrame, *, notes: Sequence[str]) -> Figure:
    """Loss and unweighted accuracy by epoch: a thin line per job, a bold one for their mean.

    Parameters
    ----------
    training : DataFrame
        fold, seed, epoch, train_loss, validation_loss, train_ua, validation_ua
    notes : what every title must add
    """
    title = "Training history"
    if not training["epoch"].max() > 1:  # also when there is no row at all
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
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.margins(x=0.02)
    panels[0].set_ylim(bottom=0)
    panels[1].set_ylim(0, 1)
    panels[0].legend()
    set_title(panels[0], title, notes)
    return figure


def speakers_figure(
    per_speaker: pd.DataFrame, *, ua: float, chance: float, notes: Sequence[str]
) -> Figure:
    """Unweighted accuracy of each speaker with its 95 % interval, in order within each corpus.

    The lowest and the highest of each corpus have their names beside them.

    Parameters
    ----------
    per_speaker : DataFrame
        corpus, speaker, ua, ua_low, ua_high
    ua, chance : float
        pooled figure and chance level, drawn as lines
    notes : what every title must add
    """
    groups = dict(list(per_speaker.groupby("corpus")))
    apart = max(1.5, 0.06 * len(per_speaker))  # of corpora; speakers are 1 apart
    width = 1.2 + 0.17 * (len(per_speaker) + apart * len(groups))
    figure, axes = new_figure(min(max(4.5, width), 9), 3.6)
    first, middles, names = 0.0, [], []
    for corpus, group in groups.items():
        group = group.sort_values("ua", kind="stable")
        places = first + np.arange(len(group))
        line = {"color": MAIN, "linewidth": 1.0, "alpha": 0.45}
        axes.vlines(places, group["ua_low"], group["ua_high"], **line)
        dot = {"color": MAIN, "edgecolor": "white", "linewidth": 0.4, "zorder": 3}
        axes.scatter(places, group["ua"], s=26 if len(per_speaker) <= 50 else 12, **dot)
        for end in sorted({0, len(group) - 1}):
            below = not end
            axes.annotate(
                group["speaker"].iloc[end].removeprefix(f"{corpus}/"),
                (places[end], group["ua_low" if below else "ua_high"].iloc[end]),
                xytext=(0, -3 if below else 3),
                textcoords="offset points",
                ha="center",
                va="top" if below else "bottom",
                fontsize=7,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            )
        middles.append(places.mean())
        names.append(f"{corpus}\n{len(group)} speaker{'s' if len(group) > 1 else ''}")
        first = places[-1] + 1 + apart
    axes.set_xticks(middles, names)
    axes.set_xlim(-apart, first - 1)
    axes.set_ylim(-0.08, 1.08)  # room for the names
    axes.set_ylabel("UA (0 to 1), with 95 % interval")
    axes.grid(visible=False, axis="x")
    reference_lines(axes, axes.axhline, ua=ua, chance=chance)
    set_title(axes, "Unweighted accuracy of each speaker", notes)
    return figure


def recall_figure(
    per_class: pd.DataFrame, *, ua: float, chance: float, notes: Sequence[str]
) -> Figure:
    """Recall of each label with its 95 % interval.

    Parameters
    ----------
    per_class : DataFrame
        label, recall, recall_low, recall_high, support; labels without clips are left out
    ua, chance : float
        mean recall and chance level, drawn as lines
    notes : what every title must add
    """
    table = per_class[per_class["support"] > 0]
    figure, axes = new_figure(6, 1.7 + 0.32 * len(table))
    places = np.arange(len(table))
    axes.hlines(places, table["recall_low"], table["recall_high"], color=MAIN, linewidth=1.6)
    axes.scatter(table["recall"], places, color=MAIN, s=36, zorder=3)
    names = [f"{row.label} ({row.support} clips)" for row in table.itertuples()]
    axes.set_yticks(places, names)
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("recall (0 to 1), with 95 % interval")
    axes.grid(visible=False, axis="y")
    reference_lines(axes, axes.axvline, ua=ua, chance=chance)
    set_title(axes, "Recall of each emotion", notes)
    return figure


def fairness_figure(bands: pd.DataFrame, *, notes: Sequence[str]) -> Figure:
    """Share recognised of each sex and speaker, over the band that chance alone gives.

    Parameters
    ----------
    bands : DataFrame
        see `fairness.chance_bands`
    notes : what every title must add
    """
    sexes, speakers = (bands[bands["by"] == by] for by in ("sex", "speaker"))
    lead = speakers["recognised"] - speakers["expected"]
    speakers = speakers.assign(lead=lead).sort_values("lead", kind="stable")
    table = pd.concat([sexes, speakers])
    step = max(1, len(table) / 24)  # room for the names of the sexes, however many speakers
    places = np.append(
        np.arange(len(sexes)) * step, len(sexes) * step + np.arange(1, 1 + len(speakers))
    )
    figure, axes = new_figure(max(5.5, min(1.5 + 0.24 * len(table), 9)), 4.4)
    width = min(9.0, 240 / len(table))  # in points
    band = {"color": "#C8C8C8", "linewidth": width, "label": "what chance gives in 95 of 100"}
    axes.vlines(places, table["band_low"], table["band_high"], **band)
    mean = {"marker": "_", "color": REFERENCE, "s": width**2, "zorder": 2.5, "label": "expected"}
    axes.scatter(places, table["expected"], **mean)
    for verdict, colour, marker in (
        ("below", COLOURS[2], "v"),
        ("within", MAIN, "o"),
        ("above", COLOURS[6], "^"),
    ):
        rows = (table["verdict"] == verdict).to_numpy()
        kind = {"color": colour, "marker": marker, "s": 26, "zorder": 3, "label": verdict}
        axes.scatter(places[rows], table["recognised"][rows], **kind)
    names = [f"{row.group} ({row.clips})" for row in table.itertuples()]
    shown = len(sexes) if len(table) > 40 else len(table)
    axes.set_xticks(places[:shown], names[:shown], rotation=60, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.8 * step, places[-1] + 0.8)
    axes.set_ylim(-0.03, 1.03)
    axes.set_ylabel("share of clips recognised")
    if shown < len(table):
        axes.set_xlabel(
            f"by sex, and {len(speakers)} speakers, from least to most ahead", loc="right"
        )
    axes.grid(visible=False, axis="x")
    figure.legend(loc="outside lower right", ncols=3)
    set_title(axes, "Clips recognised, by sex and speaker (number of clips)", notes)
    return figure


def roc_figure(
    curves: Mapping[str, NDArray], *, areas: Mapping[str, float], notes: Sequence[str]
) -> Figure:
    """ROC curve of each label against the rest, one panel each; the others stand behind it.

    Parameters
    ----------
    curves : by label, float [2, points]
        share of the rest that is taken for the label, and share of the label's clips that is
    areas : by label
        below the curves
    notes : what every title must add
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
    figure.supxlabel("share of other clips taken for the emotion (false positives)", fontsize=9)
    figure.supylabel("share of its own clips found", fontsize=9)
    set_title(panels[0], "ROC curve of each emotion against the rest, and the area below it", notes)
    return figure


def reliability_figure(reliability: pd.DataFrame, *, notes: Sequence[str]) -> Figure:
    """How often answers were right, by how sure they were; below, how many were that sure.

    Parameters
    ----------
    reliability : DataFrame
        see `calibration.reliability_table`; one or two kinds of probabilities
    notes : what every title must add
    """
    figure = new_canvas(6, 5.6)
    groups = reliability.groupby("probabilities", sort=False)
    ratios = [3.2, *[1.0] * len(groups)]
    above, *counts = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios)
    ideal = {"color": REFERENCE, "linewidth": 1.2, "linestyle": ":", "label": "as right as sure"}
    above.plot([0, 1], [0, 1], **ideal)
    for axes, (kind, table), (colour, marker) in zip(
        counts, groups, ((COLOURS[2], "s"), (MAIN, "o")), strict=False
    ):
        above.plot(table["confidence"], table["accuracy"], color=colour, linewidth=0.8, alpha=0.5)
        sizes = 6 + 84 * table["answers"] / table["answers"].max()
        point = {"color": colour, "marker": marker, "zorder": 3, "label": kind}
        above.scatter(table["confidence"], table["accuracy"], s=sizes, **point)
        width = table["to"] - table["from"]
        bars = axes.bar(table["from"], table["answers"], width, align="edge", color=colour)
        axes.bar_label(bars, [str(n) if n else "" for n in table["answers"]], fontsize=6.5)
        axes.set_ylabel("answers")
        axes.margins(y=0.25)
        axes.grid(visible=False, axis="x")
    above.set_xlim(0, 1)
    above.set_ylim(-0.03, 1.03)
    above.set_ylabel("share of answers that are right")
    counts[-1].set_xlabel("probability of the answer (15 bins of equal width)")
    figure.legend(loc="outside lower right", ncols=3)
    set_title(above, "Reliability of the probabilities", notes)
    return figure


def references_figure(table: pd.DataFrame, *, chance: float, notes: Sequence[str]) -> Figure:
    """Unweighted accuracy of the run with its interval, and of published systems without.

    Parameters
    ----------
    table : DataFrame
        see `references.references`; at least two rows
    chance : float
        chance level, drawn as a line
    notes : what every title must add
    """
    own, kind = table.iloc[0], table["pretrained"]
    places = np.arange(len(table)) + 0.4 * (kind != "") + 0.4 * (kind == "yes")
    figure, axes = new_figure(7, 1.9 + 0.27 * places.iloc[-1])
    band = {"color": MAIN, "alpha": 0.13, "linewidth": 0, "zorder": 0}
    axes.axvspan(own["ua_low"], own["ua_high"], **band)
    axes.hlines(places[0], own["ua_low"], own["ua_high"], color=MAIN, linewidth=1.6)
    for pretrained, label, colour, marker in (
        ("", "this run, with 95 % interval", MAIN, "o"),
        ("no", "without pre-training", REFERENCE, "D"),
        ("yes", "pre-trained on other speech", COLOURS[2], "s"),
    ):
        rows = kind == pretrained
        faces = np.where(table["folds"][rows] == "other", "white", colour)
        point = {"edgecolor": colour, "marker": marker, "s": 36, "zorder": 3, "linewidth": 1.4}
        if rows.any():
            axes.scatter([], [], color=colour, label=label, **point)
            axes.scatter(table["ua"][rows], places[rows], c=faces, **point)
    line = {"color": REFERENCE, "linewidth": 1.2, "linestyle": ":"}
    axes.axvline(chance, label=f"chance {chance:.3f}", **line)
    other = np.where(table["folds"] == "other", " (other folds)", "")
    axes.set_yticks(places, table["system"] + other)
    axes.set_ylim(places.iloc[-1] + 0.6, -0.6)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("UA, unweighted accuracy (0 to 1)")
    axes.grid(visible=False, axis="y")
    beside = axes.secondary_yaxis("right")
    beside.set_yticks(places, [f"{ua:.3f}" for ua in table["ua"]])
    beside.tick_params(length=0)
    beside.spines[:].set_visible(False)
    figure.legend(loc="outside lower right", ncols=2)
    set_title(axes, "This run beside published figures", notes)
    return figure


def embedding_figure(
    clips: pd.DataFrame,
    *,
    labels: Sequence[str],
    shares: Sequence[float],
    heading: str,
    notes: Sequence[str],
) -> Figure:
    """Clips in the plane: a colour for each label; a marker for each corpus, or speaker, if few.

    Where there is one, or are many, a marker stands for a label as well.

    Parameters
    ----------
    clips : DataFrame
        corpus, speaker, label, x, y
    labels : names of the classes
        in the order of colours
    shares : two floats
        of the variance that x and y hold
    heading : str
    notes : what every title must add
    """
    figure, axes = new_figure(7, 4.6)
    by = next((by for by in ("corpus", "speaker") if 1 < clips[by].nunique() <= _GROUPS), "label")
    groups = labels if by == "label" else sorted(set(clips[by]))
    markers = dict(zip(groups, cycle(MARKERS), strict=False))
    line = {"edgecolor": "#333333", "s": 26}
    for number, label in enumerate(labels):
        turn, place = divmod(number, len(COLOURS))
        colour = {"color": COLOURS[place], "linewidth": 0.4 + turn} | line
        axes.scatter([], [], marker=markers.get(label, "o"), label=label, **colour)
        for group, rows in clips[clips["label"] == label].groupby(by):
            axes.scatter(rows["x"], rows["y"], marker=markers[group], zorder=3, **colour)
    if by != "label":
        for group, marker in markers.items():
            axes.scatter([], [], color="white", linewidth=0.8, marker=marker, label=group, **line)
    for name, share, put in zip(
        ("first", "second"), shares, (axes.set_xlabel, axes.set_ylabel), strict=True
    ):
        put(f"{name} principal component ({100 * share:.0f} % of the variance)")
    figure.legend(loc="outside right center")
    set_title(axes, heading, notes)
    return figure


def robustness_figure(table: pd.DataFrame, *, chance: float, notes: Sequence[str]) -> Figure:
    """Unweighted accuracy of degraded clips with its 95 % interval: a panel for each unit.

    Parameters
    ----------
    table : DataFrame
        see `robustness.robustness_table`; the first row is of the clips as they are
    chance : float
        chance level, drawn as a line
    notes : what every title must add
    """
    clean, units = table.iloc[0], dict(list(table.iloc[1:].groupby("unit", sort=False)))
    columns = min(2, len(units))
    rows = -(-len(units) // columns)
    figure = new_canvas(0.6 + 3.3 * max(2, columns), 1.3 + 2.4 * rows)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for axes, (unit, of_unit) in zip(panels, units.items(), strict=False):
        band = axes.axhspan(clean["ua_low"], clean["ua_high"], color="#E8E8E8", zorder=0)
        line = {"color": REFERENCE, "linewidth": 1.2, "zorder": 1}
        whole, guess = (
            axes.axhline(clean["ua"], **line),
            axes.axhline(chance, linestyle=":", **line),
        )
        if unit:
            named = dict(list(of_unit.groupby("degradation", sort=False)))
            levels = sorted(set(of_unit["level"]))
            axes.set_xticks(levels, [f"{level:g}" for level in levels])
            axes.set_xlabel(f"level ({unit})")
        else:  # no amount: one after the other, by name
            named = {"": of_unit.assign(level=np.arange(len(of_unit)))}
            axes.set_xticks(range(len(of_unit)), of_unit["degradation"])
            axes.set_xlim(-0.7, len(of_unit) - 0.3)
        apart = 0.013 * np.ptp(of_unit["level"]) if unit else 0.0  # so that intervals show
        for number, (name, own) in enumerate(named.items()):
            colour, marker = _CURVES[number % len(_CURVES)]
            at = own["level"] + apart * (number - (len(named) - 1) / 2)
            curve = {"color": colour, "marker": marker, "markersize": 4.5, "linewidth": 1.3}
            axes.plot(at, own["ua"], linestyle="-" if unit else "", label=name, **curve)
            axes.vlines(at, own["ua_low"], own["ua_high"], color=colour, linewidth=1.1)
        if unit:
            above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
            curves = [line for line in axes.get_lines() if line.get_label() in named]
            axes.legend(handles=curves, ncols=len(_CURVES), fontsize=8, **above)
        axes.set_ylim(-0.02, 1.02)
    names = [f"the clips as they are {clean['ua']:.3f}", "its interval", f"chance {chance:.3f}"]
    figure.legend([whole, band, guess], names, loc="outside lower right", ncols=3)
    for axes in panels[len(units) :]:
        axes.set_axis_off()
    figure.supylabel("UA, unweighted accuracy (0 to 1)", fontsize=9)
    set_title(panels[0], "Unweighted accuracy of degraded clips, with 95 % interval", notes)
    return figure
