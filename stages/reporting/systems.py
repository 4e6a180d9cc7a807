"""The figures that every table of systems has: UA, and the difference to a reference."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from stages.metrics.counts import confusion_matrix, unweighted_accuracy
from stages.metrics.intervals import as_columns, paired_difference, speaker_interval


def ua_row(
    predicted: NDArray,
    *,
    truth: NDArray,
    speakers: NDArray,
    clips: NDArray,
    n_classes: int,
    reference: NDArray | None = None,
) -> dict[str, Any]:
    """Unweighted accuracy of one system, and its paired difference to a reference.

    Parameters
    ----------
    predicted : int [clips, seeds]
        index of the class that the system predicts
    truth : int [clips]
        index of the actual class
    speakers, clips : [clips]
        names, see `metrics.intervals.left_out`
    n_classes : int
    reference : int [clips, seeds] or None
        index of the class that the reference predicts

    Returns
    -------
    dict
        ua, ua_low, ua_high: mean over seeds and 95 % interval; interval: "speakers" or "clips",
        left out in turn; with a reference also difference, difference_low, difference_high
    """
    tested: dict[str, Any] = {
        "truth": truth,
        "speakers": speakers,
        "clips": clips,
        "n_classes": n_classes,
    }
    confusion = confusion_matrix(truth, predicted, n_classes=n_classes)
    interval = speaker_interval(
        lambda confusions: unweighted_accuracy(confusions).mean(-1), predicted=predicted, **tested
    )
    row: dict[str, Any] = as_columns("ua", float(unweighted_accuracy(confusion).mean()), interval)
    if reference is not None:
        difference = paired_difference(
            unweighted_accuracy, predicted=predicted, reference=reference, **tested
        )
        row |= as_columns("difference", difference.value, difference)
    return row | {"interval": interval.unit}
