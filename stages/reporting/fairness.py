"""Are some voices recognised worse than others, and by more than chance alone would have it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binom

from stages.metrics import counts as metrics
from stages.reporting.predictions import Predictions
from stages.reporting.tables import UNKNOWN

#: Share of groups that chance alone leaves within their band, at least.
LEVEL = 0.95
_SEXES = ("female", "male")


def chance_bands(predictions: Predictions) -> pd.DataFrame:
    """Share of clips recognised of each sex and speaker, and what chance gives at its size.

    The band assumes that there is no difference between groups: that each clip is recognised with
    the recall that its emotion has over all clips (the group's own among them), whoever speaks, and
    independently of all other clips. The number recognised is then a sum of binomial ones, whose
    distribution is exact here. Seeds do not narrow the band: they answer for the same clips.

    Returns
    -------
    DataFrame
        one row per group: by (sex; sex and emotion; speaker), group, clips, speakers, recognised
        (share, mean over seeds), expected (its mean under this assumption), band_low, band_high (of
        the middle LEVEL), verdict (below, within or above the band)
    """
    right = (predictions.predicted == predictions.truth[:, None]).mean(1)
    recall = np.nan_to_num(metrics.recall(predictions.confusion()).mean(0))
    clips = predictions.clips
    sex = clips["sex"].replace("", UNKNOWN)
    rows = []
    for by, groups in {
        "sex": sex,
        "sex and emotion": sex + ", " + clips["label"],
        "speaker": clips["speaker"],
    }.items():
        for group, places in groups.groupby(groups).indices.items():
            support = np.bincount(predictions.truth[places], minlength=len(recall))
            low, high = _middle(support, recall)
            found = right[places].mean()
            # both are whole numbers of clips, up to rounding, with one seed
            verdict = (
                "below" if found < low - 1e-9 else "above" if found > high + 1e-9 else "within"
            )
            row = {"by": by, "group": group, "clips": len(places)}
            row |= {"speakers": clips["speaker"].iloc[places].nunique(), "recognised": found}
            row |= {"expected": support @ recall / len(places), "band_low": low, "band_high": high}
            rows.append(row | {"verdict": verdict})
    return pd.DataFrame(rows).round(6)


def _middle(support: NDArray[np.int64], recall: NDArray) -> tuple[float, float]:
    """Shares between which the middle LEVEL of a sum of binomial counts lies, both within it."""
    counts = [binom.pmf(np.arange(n + 1), n, p) for n, p in zip(support, recall, strict=True) if n]
    below = reduce(np.convolve, counts).cumsum()
    ends = np.searchsorted(below, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    low, high = np.minimum(ends, support.sum()) / support.sum()
    return float(low), float(high)


def sex_gap(predictions: Predictions) -> pd.DataFrame:
    """UA of women minus UA of men, over the labels of which both have clips.

    Its interval leaves out one speaker at a time, so it allows for speakers who differ, as the
    bands of `chance_bands` do not.

    Returns
    -------
    DataFrame
        one row: female_speakers, male_speakers, labels (that both have), female_ua, male_ua, gap,
        gap_low, gap_high. The figures are empty where there is no such label, the interval where a
        sex has fewer than two speakers
    """
    sex, truth = predictions.clips["sex"].to_numpy(), predictions.truth
    shared = sorted(set.intersection(*(set(truth[sex == name]) for name in _SEXES)))
    chosen = np.isin(sex, _SEXES) & np.isin(truth, shared)
    speakers = [set(predictions.speakers[sex == name]) for name in _SEXES]
    row = {f"{name}_speakers": len(found) for name, found in zip(_SEXES, speakers, strict=True)}
    row |= {"labels": len(shared)}
    row |= dict.fromkeys(["female_ua", "male_ua", "gap", "gap_low", "gap_high"], np.nan)
    if not shared:
        return pd.DataFrame([row])
    names, counts = metrics.confusion_by_group(
        truth[chosen],
        predictions.predicted[chosen],
        predictions.speakers[chosen],
        n_classes=len(predictions.labels),
    )
    of = predictions.clips.groupby("speaker")["sex"].first()[names].to_numpy()
    sides, own = _sides(counts, of, names=_SEXES)
    ua = metrics.unweighted_accuracy(sides.sum(0)).mean(-1)
    row |= {"female_ua": ua[0], "male_ua": ua[1], "gap": ua[0] - ua[1]}
    if min(own.sum(0)) > 1:
        low, high = metrics.jackknife_interval(ahead, sides, lowest=-1.0)
        row |= {"gap_low": float(low), "gap_high": float(high)}
    return pd.DataFrame([row]).round(6)


def speaker_gap(predictions: Predictions, per_speaker: pd.DataFrame) -> pd.DataFrame:
    """The speaker with the highest and the one with the lowest figure, and the gap between them.

    Its interval leaves out one clip of the two at a time and takes them as given. But they were
    picked as the extremes of all, so some gap is left where speakers do not differ.

    Parameters
    ----------
    predictions : Predictions
    per_speaker : DataFrame
        see `tables.per_speaker`

    Returns
    -------
    DataFrame
        one row for ua and one for wa: figure, speakers; worst and best (names), and of each of them
        <side>_value, <side>_value_low, <side>_value_high; gap, gap_low, gap_high; interval (what
        is left out in turn). Of equal speakers the first by name. With one speaker there is no gap
        to be sure of: it is 0, and its interval empty
    """
    speakers, rows = per_speaker.set_index("speaker"), []
    for figure, statistic in (("ua", metrics.unweighted_accuracy), ("wa", metrics.accuracy)):
        row = {"figure": figure, "speakers": len(speakers)}
        for side, place in (("worst", "idxmin"), ("best", "idxmax")):
            row[side] = getattr(speakers[figure], place)()
            of = speakers.loc[row[side]]
            row |= {f"{side}_value{end}": of[f"{figure}{end}"] for end in ("", "_low", "_high")}
        row |= {"gap": row["best_value"] - row["worst_value"], "gap_low": np.nan}
        row |= {"gap_high": np.nan, "interval": "clips"}
        chosen = predictions.clips["speaker"].isin([row["worst"], row["best"]]).to_numpy()
        if row["worst"] != row["best"]:
            names, counts = metrics.confusion_by_group(
                predictions.truth[chosen],
                predictions.predicted[chosen],
                predictions.clips["clip"][chosen],
                n_classes=len(predictions.labels),
            )
            of = predictions.clips.groupby("clip")["speaker"].first()[names].to_numpy()
            sides, _ = _sides(counts, of, names=(row["best"], row["worst"]))
            difference = partial(ahead, statistic=statistic)
            low, high = metrics.jackknife_interval(difference, sides, lowest=-1.0)
            row |= {"gap_low": float(low), "gap_high": float(high)}
        rows.append(row)
    return pd.DataFrame(rows).round(6)


def _sides(
    counts: NDArray[np.int64], of: NDArray, *, names: tuple[str, str]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Counts of each group on the side that it belongs to, and nothing on the other.

    Parameters
    ----------
    counts : int [groups, seeds, classes, classes]
    of : str [groups]
        the side of each group
    names : of both sides

    Returns
    -------
    sides : int [groups, 2, seeds, classes, classes]
    own : bool [groups, 2]
    """
    own = of[:, None] == np.array(names)
    return counts[:, None] * own[..., None, None, None], own


def ahead(
    sides: NDArray, *, statistic: Callable[[NDArray], NDArray] = metrics.unweighted_accuracy
) -> NDArray[np.float64]:
    """Figure of the first side minus that of the second, mean over seeds, [...].

    Parameters
    ----------
    sides : int [..., 2, seeds, classes, classes]
        confusion counts
    statistic : callable
        counts [..., classes, classes] -> values [...]
    """
    found = statistic(sides).mean(-1)
    return found[..., 0] - found[..., 1]
