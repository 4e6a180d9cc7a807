"""Parts of a file, each of which a decoder takes for a file of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from io import SEEK_CUR, SEEK_END, SEEK_SET

#: Headers may be wrong by this much, in seconds, before a file counts as truncated.
TOLERANCE_S = 0.1
_RATES_HZ = 1000, 768_000


@dataclass(frozen=True)
class Part:
    """A head, and the bytes of a file from `start` to before `stop`, which decode on their own."""

    head: bytes
    start: int
    stop: int


class View:
    """A part of a file as a file object, for reading alone.

    Parameters
    ----------
    descriptor : int
        of the open file, whose position is not used
    part : Part
    """

    def __init__(self, descriptor: int, part: Part) -> None:
        self._descriptor, self._part, self._place = descriptor, part, 0

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes, fewer at the end."""
        head, start = self._part.head, self._part.start + self._place - len(self._part.head)
        found = head[self._place : self._place + count]
        wanted = min(count - len(found), self._part.stop - start - len(found))
        if wanted > 0:
            found += os.pread(self._descriptor, wanted, start + len(found))
        self._place += len(found)
        return found

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Move to a place, never before the first byte."""
        end = len(self._part.head) + self._part.stop - self._part.start
        self._place = max(0, offset + {SEEK_SET: 0, SEEK_CUR: self._place, SEEK_END: end}[whence])
        return self._place

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._place

    def left(self) -> int:
        """Return how many bytes follow."""
        return len(self._part.head) + self._part.stop - self._part.start - self._place


def check_rate(rate_hz: int) -> None:
    """Refuse a sample rate that no recording of speech has: its header is damaged.

    Resampling from it would take hours, or all memory.
    """
    low, high = _RATES_HZ
    if not low <= rate_hz <= high:
        raise ValueError(f"sample rate: got {rate_hz} Hz, want {low} to {high} Hz")


Read = Callable[[int, int], bytes]


def reader(descriptor: int) -> Read:
    """Return a function of a place and a count that reads ahead."""
    held, first = b"", 0

    def read(place: int, count: int) -> bytes:
        nonlocal held, first
        if not first <= place <= place + count <= first + len(held):
            held, first = os.pread(descriptor, max(count, 1 << 16), place), place
        return held[place - first : place - first + count]

    return read


def tags_end(read: Read, place: int) -> int:
    """First byte after any ID3v2 tags."""
    while (tag := read(place, 10))[:3] == b"ID3" and len(tag) == 10:
        # Four bytes of seven bits each.
        place += 10 + int("".join(f"{byte & 127:07b}" for byte in tag[6:]), 2)
    return place
