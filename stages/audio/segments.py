"""Places at which a long recording is cut into clips."""

from __future__ import annotations

import math


def cut(
    samples: int, *, sample_rate: int, segment_s: float | None, segment_overlap_s: float | None
) -> list[tuple[int, int]]:
    """Cut a recording into segments of one length, each a step after the one before.

    The step is the length less the overlap. A rest of at least half a step becomes a shorter
    segment of its own; a smaller rest lengthens the last segment. So every segment has between half
    and one and a half times `segment_s`, and no sample is lost.

    Parameters
    ----------
    samples : int
        of the recording
    sample_rate : int
        in Hz
    segment_s, segment_overlap_s : float or None
        length and overlap in seconds; without a length the recording is one segment

    Returns
    -------
    list of (first, stop)
        in samples, one pair per segment; at least one
    """
    if segment_s is None:
        return [(0, samples)]
    length = round(segment_s * sample_rate)
    step = length - round((segment_overlap_s or 0) * sample_rate)
    number = 1 + max(0, math.floor((samples - length) / step + 0.5))
    return [(i * step, samples if i == number - 1 else i * step + length) for i in range(number)]
