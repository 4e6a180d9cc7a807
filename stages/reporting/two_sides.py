"""The figure of one side minus that of the other: two speakers, or two sexes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.metrics.counts import Statistic, unweighted_accuracy


def divide_sides(
    counts: NDArray[np.int64], sides: NDArray, *, names: tuple[str, str]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Put the counts of each group on its side, and zeros on the other.

    Parameters
    ----------
    counts : int [groups, seeds, classes, classes]
    sides : str [groups]
        side of each group
    names : of both sides

    Returns
    -------
    divided : int [groups, 2, seeds, classes, classes]
    own : bool [groups, 2]
        whether a group is on a side
    """
    own = sides[:, None] == np.array(names)
    return counts[:, None] * own[..., None, None, None], own


def lead(divided: NDArray, *, statistic: Statistic = unweighted_accuracy) -> NDArray[np.float64]:
    """Figure of the first side minus that of the second, averaged over seeds, [...].

    Parameters
    ----------
    divided : int [..., 2, seeds, classes, classes]
        confusion counts
    statistic : callable
        counts [..., classes, classes] -> values [...]
    """
    figures = statistic(divided).mean(-1)
    return figures[..., 0] - figures[..., 1]
