"""The grammar of clip names: `corpus/name@START-END+NN#variant`.

Start and end are those of an excerpt in seconds, NN is the number of a segment.
"""

from __future__ import annotations

import math
import re
from typing import TypeVar

import pandas as pd

Names = TypeVar("Names", str, pd.Series)
_SEGMENT = re.compile(r"\+\d{2,}$")
_VARIANT = re.compile(r"#[\w-]+$")
_EXCERPT = re.compile(r"@([\d.]+)-([\d.]+)$")
# What has a meaning in this grammar, and the escapes themselves, so that each has one reading.
_MEANING = re.compile(r"#|\+(?=\d{2,}$)|@(?=[\d.]+-[\d.]+$)|%(?=2[35B]|40)")


def escape_name(name: str) -> str:
    """Escape what would mark an excerpt, a segment or a variant in the name of a file."""
    return _MEANING.sub(lambda match: f"%{ord(match[0]):02X}", name)


def excerpt_name(clip: str, start_s: float, end_s: float) -> str:
    """Name an excerpt of a recording by its times in seconds, to the microsecond."""
    start, end = (f"{time:.6f}".rstrip("0").rstrip(".") for time in (start_s, end_s))
    return f"{clip}@{start}-{end}"


def segment_name(clip: str, number: int, *, segments: int) -> str:
    """Name a segment of a clip.

    Parameters
    ----------
    clip : str
        name of the whole recording
    number, segments : int
        number of the segment, from 1, and how many segments there are. All numbers of a recording
        have the same number of digits, at least two, so that names sort by time.
    """
    return f"{clip}+{number:0{max(2, len(str(segments)))}}"


def variant_name(clip: Names, variant: Names) -> Names:
    """Name a changed copy of a clip, or of each clip of a Series."""
    return clip + "#" + variant


def variant_of(clip: str) -> str:
    """Name the variant that a clip is, after its mark; nothing for a recording."""
    found = _VARIANT.search(clip)
    return found[0] if found else ""


def without_segment(clip: str) -> str:
    """Strip the number of a segment from a clip name."""
    return _SEGMENT.sub("", clip)


def recording_of(clip: str) -> str:
    """Name the recording that a clip, a segment or a variant comes from."""
    return without_segment(_VARIANT.sub("", clip))


def part_of_file(clip: str) -> tuple[str, float, float]:
    """Name the file of a recording and the times in s of the part of it; a whole one ends never."""
    if found := _EXCERPT.search(clip):
        return clip[: found.start()], float(found[1]), float(found[2])
    return clip, 0.0, math.inf
