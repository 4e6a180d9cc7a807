"""UA and WA of groups of clips: corpora, speakers, folds and whatever else is known of them."""

from __future__ import annotations

import pandas as pd

from stages.metrics.counts import accuracy, unweighted_accuracy
from stages.metrics.intervals import as_columns
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
    for group, places in sorted(groups.groupby(groups).indices.items()):
        part = predictions.select(places)
        row = {groups.name: group, "clips": part.clips["clip"].nunique()}
        row |= {"speakers": part.clips["speaker"].nunique()}
        row |= {"classes": part.clips["label"].nunique()}
        for name, statistic in (("ua", unweighted_accuracy), ("wa", accuracy)):
            interval = part.interval(statistic)
            row |= as_columns(name, statistic(part.confusion()).mean(), interval)
            row["interval"] = interval.unit
        rows.append(row)
    columns = [groups.name, "clips", "speakers", "classes", "ua", "ua_low", "ua_high", "interval"]
    return pd.DataFrame(rows)[[*columns, "wa", "wa_low", "wa_high"]].round(6)


def per_corpus(predictions: Predictions) -> pd.DataFrame:
    """UA and WA of each corpus by itself; see `per_group`."""
    return per_group(predictions, predictions.clips["corpus"])
