"""Whether some voices are recognised worse than chance alone explains."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, reduce
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import gammaln, xlog1py, xlogy

from stages.metrics.counts import confusion_by_group, recall, unweighted_accuracy
from stages.metrics.intervals import jackknife_interval
from stages.reporting.drawing import COLOURS, MAIN, REFERENCE, new_figure, set_title
from stages.reporting.grouped import UNKNOWN
from stages.reporting.predictions import Predictions
from stages.reporting.run import Run
from stages.reporting.section import Section
from stages.reporting.two_sides import divide_sides, lead

#: Least fraction of groups that chance alone leaves within their band.
LEVEL = 0.95
_SEXES = ("female", "male")


def section(run: Run) -> Section:
    """The bands of chance as a table and a figure, and the gap between the sexes."""
    bands, gap = chance_bands(run.predictions), sex_gap(run.predictions)
    verdicts = bands.loc[bands["by"] == "speaker", "verdict"].value_counts()
    return Section(
        tables={"fairness": bands, "sex_gap": gap},
        figures={"fairness": fairness_figure(bands, notes=run.notes)},
        words={
            "outside": {"below": 0, "above": 0} | verdicts.to_dict(),
            "bands": bands[bands["by"] != "speaker"].drop(columns="by"),
            "sexes": gap.iloc[0],
        },
    )


def chance_bands(predictions: Predictions) -> pd.DataFrame:
    """Compare the fraction recognised of each sex and speaker with what chance gives at its size.

    The band assumes that groups do not differ: each clip is recognised with the recall of its
    emotion over all clips, the group's own included, whoever speaks, and independently of other
    clips. The number recognised is then a sum of binomial variables, whose distribution is computed
    exactly. Seeds do not narrow the band, as they predict the same clips.

    Returns
    -------
    DataFrame
        one row per group: by (sex; sex and emotion; speaker), group, clips, speakers, recognised
        (fraction, mean over seeds), expected (its mean under the assumption), band_low, band_high
        (of the middle LEVEL), verdict (below, within or above the band)
    """
    right = (predictions.predicted == predictions.truth[:, None]).mean(1)
    recalls = np.nan_to_num(recall(predictions.confusion()).mean(0))
    clips = predictions.clips
    sex, (speakers, _) = clips["sex"].replace("", UNKNOWN), pd.factorize(clips["speaker"])
    rows = []
    for kind, groups in {
        "sex": sex,
        "sex and emotion": sex + ", " + clips["label"],
        "speaker": clips["speaker"],
    }.items():
        for group, places in groups.groupby(groups).indices.items():
            support = np.bincount(predictions.truth[places], minlength=len(recalls))
            low, high = _middle(support, recalls)
            recognised = right[places].mean()
            # With one seed, both are whole numbers of clips, up to rounding.
            verdict = "within"
            if recognised < low - 1e-9:
                verdict = "below"
            elif recognised > high + 1e-9:
                verdict = "above"
            rows.append(
                {
                    "by": kind,
                    "group": group,
                    "clips": len(places),
                    "speakers": len(np.unique(speakers[places])),
                    "recognised": recognised,
                    "expected": support @ recalls / len(places),
                    "band_low": low,
                    "band_high": high,
                    "verdict": verdict,
                }
            )
    return pd.DataFrame(rows).round(6)


def _middle(support: NDArray[np.int64], recalls: NDArray) -> tuple[float, float]:
    """Fractions that enclose the middle LEVEL of a sum of binomial counts, both included."""
    counts = [_binomial(n, p) for n, p in zip(support, recalls, strict=True) if n]
    cumulative = reduce(np.convolve, counts).cumsum()
    ends = np.searchsorted(cumulative, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    low, high = np.minimum(ends, support.sum()) / support.sum()
    return float(low), float(high)


@lru_cache(maxsize=1024)  # speakers have about as many clips of a label
def _binomial(n: int, p: float) -> NDArray[np.float64]:
    """Probabilities of 0 to n successes; scipy.stats, which has them, takes long to import."""
    k = np.arange(n + 1)
    ways = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return np.exp(ways + xlogy(k, p) + xlog1py(n - k, -p))


def sex_gap(predictions: Predictions) -> pd.DataFrame:
    """Compute the UA of women minus that of men, over the labels of which both have clips.

    Its interval leaves out one speaker at a time, so it allows for differences between speakers,
    unlike the bands of `chance_bands`.

    Returns
    -------
    DataFrame
        one row: female_speakers, male_speakers, labels (that both have), female_ua, male_ua, gap,
        gap_low, gap_high. The figures are empty without a common label, the interval where a sex
        has fewer than two speakers
    """
    sex, truth = predictions.clips["sex"].to_numpy(), predictions.truth
    shared = sorted(set.intersection(*(set(truth[sex == name]) for name in _SEXES)))
    chosen = np.isin(sex, _SEXES) & np.isin(truth, shared)
    row: dict[str, Any] = {
        f"{name}_speakers": len(set(predictions.speakers[sex == name])) for name in _SEXES
    }
    row |= {"labels": len(shared)}
    row |= dict.fromkeys(["female_ua", "male_ua", "gap", "gap_low", "gap_high"], np.nan)
    if not shared:
        return pd.DataFrame([row])
    names, counts = confusion_by_group(
        truth[chosen],
        predictions.predicted[chosen],
        predictions.speakers[chosen],
        n_classes=len(predictions.labels),
    )
    sides = predictions.clips.groupby("speaker")["sex"].first()[names].to_numpy()
    divided, own = divide_sides(counts, sides, names=_SEXES)
    ua = unweighted_accuracy(divided.sum(0)).mean(-1)
    row |= {"female_ua": ua[0], "male_ua": ua[1], "gap": ua[0] - ua[1]}
    if min(own.sum(0)) > 1:
        low, high = jackknife_interval(lead, divided, lowest=-1.0)
        row |= {"gap_low": float(low), "gap_high": float(high)}
    return pd.DataFrame([row]).round(6)


def fairness_figure(bands: pd.DataFrame, *, notes: Sequence[str]) -> Figure:
    """Draw the fraction recognised of each sex and speaker over the band of chance.

    Parameters
    ----------
    bands : DataFrame
        see `chance_bands`
    notes : list of str
        lines below the title
    """
    sexes, speakers = (bands[bands["by"] == kind] for kind in ("sex", "speaker"))
    ahead = speakers["recognised"] - speakers["expected"]
    speakers = speakers.assign(ahead=ahead).sort_values("ahead", kind="stable")
    table = pd.concat([sexes, speakers])
    step = max(1, len(table) / 24)  # room for the names of the sexes beside many speakers
    places = np.append(
        np.arange(len(sexes)) * step, len(sexes) * step + np.arange(1, 1 + len(speakers))
    )
    figure, axes = new_figure(max(5.5, min(1.5 + 0.24 * len(table), 9)), 4.4)
    width = min(9.0, 240 / len(table))  # in points
    band: dict[str, Any] = {"color": "#C8C8C8", "linewidth": width}
    label = "95 % range of chance"
    axes.vlines(places, table["band_low"], table["band_high"], label=label, **band)
    mean: dict[str, Any] = {"marker": "_", "color": REFERENCE, "s": width**2, "zorder": 2.5}
    axes.scatter(places, table["expected"], label="expected", **mean)
    for verdict, colour, marker in (
        ("below", COLOURS[2], "v"),
        ("within", MAIN, "o"),
        ("above", COLOURS[6], "^"),
    ):
        rows = (table["verdict"] == verdict).to_numpy()
        dot: dict[str, Any] = {"color": colour, "marker": marker, "s": 26, "zorder": 3}
        axes.scatter(places[rows], table["recognised"][rows], label=verdict, **dot)
    names = [f"{row.group} ({row.clips})" for row in table.itertuples()]
    shown = len(sexes) if len(table) > 40 else len(table)
    axes.set_xticks(places[:shown], names[:shown], rotation=60, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.8 * step, places[-1] + 0.8)
    axes.set_ylim(-0.03, 1.03)
    axes.set_ylabel("fraction of clips recognised")
    if shown < len(table):
        axes.set_xlabel(
            f"sexes, then {len(speakers)} speakers, by recognised minus expected", loc="right"
        )
    axes.grid(visible=False, axis="x")
    figure.legend(loc="outside lower right", ncols=3)
    set_title(axes, "Clips recognised, by sex and speaker (number of clips)", notes)
    return figure
