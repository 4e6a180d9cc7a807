"""The one grammar of clip names: `corpus/name`, then `+NN` for a segment, then `#variant`."""

from __future__ import annotations

import re
from typing import TypeVar

import pandas as pd

Names = TypeVar("Names", str, pd.Series)
#: Stands before the number of a segment, and before the name of a variant.
SEGMENT, VARIANT = "+", "#"
#: What follows the name of the file that a clip is a segment of; a variant adds its own name.
SEGMENT_SUFFIX = r"\+\d{2,}$"
_SUFFIXES = re.compile(r"(\+\d{2,})?(#\w+)?$")


def segment_name(clip: str, number: int, *, segments: int) -> str:
    """Name of one segment of a clip.

    Parameters
    ----------
    clip : str
        the name of the whole recording
    number, segments : int
        which segment, from 1, of how many. All numbers of a recording have as many digits, at
        least two, so that names sort in the order of time
    """
    return f"{clip}{SEGMENT}{number:0{max(2, len(str(segments)))}}"


def variant_name(clip: Names, variant: Names) -> Names:
    """Name of a changed copy of a clip; of a Series, of each."""
    return clip + VARIANT + variant


def recording_of(clip: str) -> str:
    """Name of the recording that a clip, a segment or a variant comes from.

    A file whose own name ends like a segment's or a variant's is cut as well, so two names with
    one result may still be two recordings.
    """
    return _SUFFIXES.sub("", clip)
