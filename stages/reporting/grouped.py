"""UA and WA of groups of clips: corpora, speakers, folds and whatever else is known of them."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.metrics.counts import Statistic, accuracy, confusion_by_group, unweighted_accuracy
from stages.metrics.intervals import Interval, as_columns, jackknife_interval, left_out
from stages.reporting.predictions import Predictions

#: Group of the clips of which a fact is not known.
UNKNOWN = "unknown"


def per_group(predictions: Predictions, groups: pd.Series) -> pd.DataFrame:
    """UA and WA of each group of clips by itself, averaged over seeds.

    Parameters
    ----------
    predictions : Predictions
    groups : Series of str [clips]
        group of each clip; its name becomes the first column

    Returns
    -------
    DataFrame
        <name>, clips, speakers, classes (that the group has: UA is the mean of their recalls, so
        groups that lack classes compare badly with others), ua, ua_low, ua_high, interval (left out
        in turn: speakers or clips), wa, wa_low, wa_high
    """
    rows = []
    predicted = predictions.predicted
    # Numbers, because there may be hundreds of groups, and comparing names is slow.
    clips, speakers = (pd.factorize(predictions.clips[name])[0] for name in ("clip", "speaker"))
    for group, own in sorted(groups.groupby(groups).indices.items()):
        units, unit = left_out(speakers[own], clips=clips[own])
        _, counts = confusion_by_group(
            predictions.truth[own], predicted[own], units, n_classes=len(predictions.labels)
        )
        row = {groups.name: group, "interval": unit}
        for column, facts in (
            ("clips", clips),
            ("speakers", speakers),
            ("classes", predictions.truth),
        ):
            row[column] = len(np.unique(facts[own]))
        for name, statistic in (("ua", unweighted_accuracy), ("wa", accuracy)):
            low, high = jackknife_interval(partial(_over_seeds, statistic=statistic), counts)
            value = _over_seeds(counts.sum(0), statistic=statistic)
            row |= as_columns(name, float(value), Interval(float(low), float(high), unit))
        rows.append(row)
    columns = [groups.name, "clips", "speakers", "classes", "ua", "ua_low", "ua_high", "interval"]
    return pd.DataFrame(rows)[[*columns, "wa", "wa_low", "wa_high"]].round(6)


def _over_seeds(confusions: NDArray, *, statistic: Statistic) -> NDArray:
    return statistic(confusions).mean(-1)


def per_corpus(predictions: Predictions) -> pd.DataFrame:
    """UA and WA of each corpus by itself; see `per_group`."""
    return per_group(predictions, predictions.clips["corpus"])
