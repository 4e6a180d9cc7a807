"""Where a long recording is cut into clips."""

from __future__ import annotations

import math


def cut(
    samples: int, *, sample_rate: int, segment_s: float | None, segment_overlap_s: float | None
) -> list[tuple[int, int]]:
    """Segments of one length, each of which begins one step after the one before it.

    The step is the length less the overlap. What is left behind the last whole segment is a segment
    of its own if it is at least half a step, and shorter than the others then; if it is less, the
    last segment goes on to the end. So none is shorter than half, or longer than one and a half
    times `segment_s`, and no sample is lost.

    Parameters
    ----------
    samples : int
        of the recording
    sample_rate : int
        in Hz
    segment_s, segment_overlap_s : float or None
        length and overlap in seconds; no length: the recording is one segment

    Returns
    -------
    list of (first, stop)
        of each segment in samples; at least one
    """
    if segment_s is None:
        return [(0, samples)]
    length = round(segment_s * sample_rate)
    step = length - round((segment_overlap_s or 0) * sample_rate)
    number = 1 + max(0, math.floor((samples - length) / step + 0.5))
    return [(i * step, samples if i == number - 1 else i * step + length) for i in range(number)]
