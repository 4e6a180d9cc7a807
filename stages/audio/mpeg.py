"""MP3 files: their frames are counted, as many a file does not say how long it is."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache

from stages.audio.views import TOLERANCE_S, Part, Read, tags_end

_KBPS = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = (44100, 48000, 32000)


@dataclass(frozen=True)
class _Frame:
    """What the header of an MPEG audio frame says; `first` is the version of the standard."""

    first: bool
    layer: int
    rate_hz: int
    channels: int
    length: int  # bytes
    samples: int

    @property
    def form(self) -> tuple[int, int, int]:
        """What must not change within a file."""
        return self.layer, self.rate_hz, self.channels

    @property
    def tag(self) -> int:
        """Place within the frame where an encoder notes the number of frames."""
        mono = self.channels == 1
        return 4 + ((17 if mono else 32) if self.first else (9 if mono else 17))


@lru_cache(maxsize=1024)
def _frame(header: bytes) -> _Frame | None:
    """Parse the first four bytes of a frame; None if they are none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] < 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    kbps, rate = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or kbps in (0, 15) or rate == 3:
        return None
    first = version == 3
    bits_per_s = 1000 * _KBPS[first, layer][kbps - 1]
    rate_hz = _RATES_HZ[rate] // {3: 1, 2: 2, 0: 4}[version]
    samples = {1: 384, 2: 1152, 3: 1152 if first else 576}[layer]
    slots = samples // 8 * bits_per_s // rate_hz
    padding = header[2] >> 1 & 1
    length = 4 * (12 * bits_per_s // rate_hz + padding) if layer == 1 else slots + padding
    return _Frame(first, layer, rate_hz, 1 if header[3] >> 6 == 3 else 2, length, samples)


@dataclass
class _Run:
    """Frames of one MP3 file: the declared number, 0 if unknown, and the one counted."""

    start: int
    declared: int = 0
    count: int = 0


def mpeg_parts(read: Read, start: int, size: int) -> list[Part]:
    """One part per joined file; none if no two frames follow each other.

    libsndfile trusts a note of the number of frames in the first one, and guesses without. Where
    the note is missing or wrong, the part gets a first frame with the number that was counted.
    """
    runs: list[_Run] = []
    form: tuple[int, int, int] | None = None
    stop = place = start
    opening = b""
    while place < size:
        header = read(place, 4)
        frame = _frame(header)
        if frame is None or place + frame.length > size:
            place = _resync(read, place, size)
            continue
        if frame.form != form:
            after = _frame(read(place + frame.length, 4))
            if after is None or after.form != frame.form:
                place += 1
                continue
            if form is not None:
                raise ValueError(
                    f"changes from {_spoken(form)} to {_spoken(frame.form)} midway, want one rate "
                    "and one number of channels"
                )
            form, opening = frame.form, header
        declared = _declared(read(place, frame.length), frame)
        if declared is not None:
            runs.append(_Run(place, declared))
        else:
            if not runs:
                runs.append(_Run(place))
            runs[-1].count += 1
        place += frame.length
        stop = place
    if not runs or form is None:
        return []
    return _mp3_parts(read, runs, opening, stop=stop, size=size)


def _mp3_parts(read: Read, runs: list[_Run], opening: bytes, *, stop: int, size: int) -> list[Part]:
    frame = _frame(opening)
    assert frame is not None
    found = []
    for run, end in zip(runs, [*(run.start for run in runs[1:]), stop], strict=True):
        lost_s = (run.declared - run.count) * frame.samples / frame.rate_hz
        if lost_s > TOLERANCE_S:
            raise ValueError(f"truncated: {run.count} frames, its header says {run.declared}")
        if run.declared == run.count:
            found.append(Part(b"", run.start, end))
            continue
        first = _frame(read(run.start, 4))
        noted = first is not None and _declared(read(run.start, first.length), first) is not None
        begin = run.start + (first.length if first and noted else 0)
        head = _note(opening, run.count) if frame.layer == 3 else b""
        found.append(Part(head, begin, end))
    if len(found) == 1 and not found[0].head:
        return [Part(b"", 0, size)]
    return found


def _spoken(form: tuple[int, int, int]) -> str:
    return f"{form[1]} Hz with {form[2]} channel{'s' * (form[2] > 1)}"


def _resync(read: Read, place: int, size: int) -> int:
    """Next place that may begin a frame, after tags or damage."""
    if read(place, 3) == b"TAG" and place + 128 == size:
        return size
    after = tags_end(read, place)
    if after > place:
        return after
    found = read(place + 1, 1 << 12).find(b"\xff")
    return place + 1 + (found if found >= 0 else 1 << 12)


def _declared(content: bytes, frame: _Frame) -> int | None:
    """Number of frames that a first frame notes, 0 if left open; None if the frame is sound."""
    if frame.layer != 3:
        return None
    name, flags, count = content[frame.tag : frame.tag + 4], content[frame.tag + 7 :], 0
    if name in (b"Xing", b"Info"):
        if flags and flags[0] & 1:
            count = int.from_bytes(content[frame.tag + 8 : frame.tag + 12], "big")
        return count
    return 0 if content[36:40] == b"VBRI" else None


def _note(opening: bytes, count: int) -> bytes:
    """Make a frame of silence, of the kind of another one, that notes the number of frames."""
    header = bytes((0xFF, opening[1] | 1, opening[2] & 0x0C | 0xE0, opening[3]))
    frame = _frame(header)
    assert frame is not None
    note = b"Xing" + struct.pack(">II", 1, count)
    return (header + bytes(frame.tag - 4) + note).ljust(frame.length, b"\0")
