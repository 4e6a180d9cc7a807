"""Where the sound lies in a file, found by walking its structure before any decoder opens it.

A length in a header is an estimate: streams and stopped recorders leave it open, and joined files
hold more than the first of them says. So libsndfile is handed parts of a file, each with a head
that is right. Chunks other than sound are left out; malformed ones make libsndfile loop for ever.
"""

from __future__ import annotations

import math
import os
import re
import struct
from collections.abc import Iterator

from stages.audio.mpeg import mpeg_parts
from stages.audio.views import TOLERANCE_S, Part, Read, check_rate, reader, tags_end

#: A recorder that does not know the length yet writes a number of at least this into the header.
LENGTH_UNKNOWN = 0x7FFFF000
_MAX_CHUNKS = 1000
_MAX_CHUNK = 1 << 12  # bytes of a chunk that describes the samples
_BLOCK = 1 << 20  # bytes that are searched at a time
#: Codes of WAV: integers, floats, A-law, mu-law, and the extensible form of all.
_SAMPLES_OF_EQUAL_SIZE = (1, 3, 6, 7, 0xFFFE)
#: Encodings of NIST whose samples have the size that the header gives.
_NIST_SAMPLES = (b"pcm", b"ulaw", b"mu-law", b"alaw")


def sound_parts(descriptor: int) -> tuple[list[Part], bool]:
    """Find the parts of an audio file that hold sound.

    Parameters
    ----------
    descriptor : int
        of a regular file

    Returns
    -------
    list of Part, bool
        parts to decode one after the other; whether the structure is plain WAV, FLAC, Ogg or MP3,
        which libsndfile decodes safely. Anything else is one part, the file as it is

    Raises
    ------
    ValueError
        if the file is shorter than its header says, changes its format midway, or if its header
        gives two lengths
    """
    size = os.fstat(descriptor).st_size
    whole = [Part(b"", 0, size)]
    read = reader(descriptor)
    start = tags_end(read, 0)
    for begin, walk in (
        (rb"(RIF[FX]|RF64|BW64)....WAVE", _wav),
        (rb"fLaC", _flac),
        (rb"OggS", _ogg),
        (rb"" if start else rb"\xff[\xe2-\xff]", mpeg_parts),
        (rb"FORM....AIF[FC]", _aiff),
        (rb"NIST_1A\n", _nist),
    ):
        if re.match(begin, read(start, 12), re.DOTALL) and (found := walk(read, start, size)):
            return found, True
    return whole, False


def needs_ffmpeg(descriptor: int) -> bool:
    """Whether a file begins like one that ffmpeg decodes, but libsndfile does not."""
    read = reader(descriptor)
    return bool(_FOREIGN.match(read(tags_end(read, 0), 36)))


_FOREIGN = re.compile(
    rb"....(ftyp|moov|mdat|wide|free|skip)"  # MP4, M4A, 3GP, QuickTime
    rb"|\x1a\x45\xdf\xa3"  # WebM, Matroska
    rb"|\x30\x26\xb2\x75\x8e\x66\xcf\x11"  # WMA
    rb"|\xff[\xf0\xf1\xf8\xf9]|ADIF"  # AAC
    rb"|#!AMR|\x0b\x77|\x7f\xfe\x80\x01|wvpk|TTA1|MAC |MP\+|MPCK|FLV\x01|[\x02\x03]ds[s2]|\.RMF"
    rb"|\x00\x00\x01\xba|G@.\x10|RIFF....AVI |OggS.{24}Speex   ",
    re.DOTALL,
)


def _find_all(read: Read, pattern: bytes, start: int, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield each place of a short pattern, and what it matches."""
    longest = 16
    for first in range(start, size, _BLOCK):
        block = read(first, _BLOCK + longest)
        for match in re.finditer(pattern, block, re.DOTALL):
            if match.start() < _BLOCK:
                yield first + match.start(), match[0]


def _split(starts: list[int], size: int) -> list[Part]:
    return [Part(b"", *bounds) for bounds in zip(starts, [*starts[1:], size], strict=True)]


def _flac(read: Read, start: int, size: int) -> list[Part]:
    """Files joined end to end begin with the same mark and a description of 34 bytes each."""
    marks = _find_all(read, rb"fLaC[\x00\x80]\x00\x00\x22", start, size)
    return _split([start] + [place for place, _ in marks if place > start], size)


def _ogg(read: Read, start: int, size: int) -> list[Part]:
    """A chain of streams: each begins with one page, or several, that are marked as the first."""
    starts, first = [start], True
    for place, page in _find_all(read, rb"OggS\x00.", start, size):
        first, before = bool(page[5] & 2), first
        if first and not before:
            starts.append(place)
    return _split(starts, size)


def _wav(read: Read, start: int, size: int) -> list[Part]:
    """One part per RIFF file, of which several may be joined; none if the structure is odd."""
    found: list[Part] = []
    following: int | None = start
    while following is not None:
        part, following = _riff(read, following, size)
        if part is None:
            return []
        found.append(part)
    return found


def _chunks(read: Read, place: int, size: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, first byte and size of each chunk, up to one that does not look like a chunk."""
    for _ in range(_MAX_CHUNKS):
        header = read(place, 8)
        if len(header) < 8 or not _is_name(header[:4]):
            return
        name, count = header[:4], struct.unpack(f"{order}I", header[4:])[0]
        yield name, place + 8, count
        place += 8 + count
        # Some writers forget the byte that fills up to an even size.
        place += bool(count & 1 and not _is_name(read(place, 4)))


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(32 <= byte < 127 for byte in name)


def _riff(read: Read, start: int, size: int) -> tuple[Part | None, int | None]:
    """Return the sound of one RIFF file with a new head, and where a joined one begins."""
    magic = read(start, 4)
    order = ">" if magic == b"RIFX" else "<"
    kept: dict[bytes, bytes] = {}
    names, long = [], 0
    for name, body, count in _chunks(read, start + 12, size, order):
        names.append(name)
        if name == b"data":
            break
        if body + count > size:
            return None, None
        if name in (b"fmt ", b"fact"):
            if count > _MAX_CHUNK:
                return None, None
            kept[name] = read(body, count)
        elif name == b"ds64" and count >= 16:
            long = struct.unpack("<Q", read(body + 8, 8))[0]
    else:
        return None, None
    if len(kept.get(b"fmt ", b"")) < 16:
        return None, None
    code, _, rate, per_s, align, _ = struct.unpack(f"{order}HHIIHH", kept[b"fmt "][:16])
    check_rate(rate)
    if code not in _SAMPLES_OF_EQUAL_SIZE or not align:
        slack = TOLERANCE_S * per_s
        stop, following = _sound_end(read, body, count, size, order, slack=slack)
        if following is None and stop - body > count + slack:
            # Where compressed samples end is for their decoder to say, which believes the header.
            raise ValueError(unclear(f"{count} bytes of samples, and {stop - body} are there"))
        return None, None
    if long and count == 0xFFFFFFFF:
        count = long
    stop, following = _sound_end(read, body, count, size, order, slack=TOLERANCE_S * rate * align)
    if start == 0 and stop == size == body + count and set(names) <= {b"fmt ", b"fact", b"data"}:
        return Part(b"", 0, size), following
    return Part(_wav_head(kept, stop - body, order), body, stop), following


def unclear(what: str) -> str:
    """Message about a file that holds more than its header says."""
    return f"length unclear: its header says {what}; convert the file with a program that reads it"


def _aiff(read: Read, start: int, size: int) -> list[Part]:
    """Refuse a file with more sound than its header says, where libsndfile stops. None is plain."""
    slack = 0.0
    for name, body, count in _chunks(read, start + 12, size, ">"):
        if name == b"COMM" and 18 <= count <= _MAX_CHUNK and body + count <= size:
            channels, _, _, power, digits = struct.unpack(">HIHHQ", read(body, 18))
            rate = math.ldexp(digits, min(power, 16446) - 16446)  # a float of 80 bits
            slack = TOLERANCE_S * rate * channels / 4  # the strongest compression of AIFF-C
        elif name == b"SSND":
            if 8 < count < LENGTH_UNKNOWN and body + count <= size:
                stop, _ = _sound_end(read, body, count, size, ">", slack=slack)
                if stop - body > count + slack:
                    raise ValueError(
                        unclear(f"{count} bytes of samples, and {stop - body} are there")
                    )
            break
    return []


def _nist(read: Read, start: int, size: int) -> list[Part]:
    """Refuse a file that is shorter than its header says, which libsndfile reads. None is plain."""
    head = read(start, 1 << 12)
    found = dict(re.findall(rb"^(\w+) -[irs]\d* (\S+)", head[: head.find(b"end_head")], re.M))
    try:
        skip, count, width, channels, rate = (
            int(value)
            for value in (
                head.split(b"\n", 2)[1],
                *(found[b"sample_count"], found[b"sample_n_bytes"]),
                *(found.get(b"channel_count", b"1"), found[b"sample_rate"]),
            )
        )
    except (IndexError, KeyError, ValueError):
        return []
    have, want = size - start - skip, count * width * channels
    slack = TOLERANCE_S * rate * width * channels
    if found.get(b"sample_coding", b"pcm") in _NIST_SAMPLES and have + slack < want:
        raise ValueError(f"truncated: {have} bytes of samples, its header says {want}")
    return []


def _sound_end(
    read: Read, body: int, count: int, size: int, order: str, *, slack: float
) -> tuple[int, int | None]:
    """Return where the samples end, and where a joined file begins.

    The header's count holds where the file ends there, or goes on with other chunks.
    """
    have = size - body
    if count > have:
        if count < LENGTH_UNKNOWN and count - have > slack:
            raise ValueError(f"truncated: {have} bytes of samples, its header says {count}")
        return size, None
    end = body + count
    end += count & 1 and not _is_name(read(end, 4))
    for name, place, extent in _chunks(read, end, size, order):
        if name in (b"RIFF", b"RIFX", b"RF64") and read(place, 4) == b"WAVE":
            return body + count, place - 8
        if place + extent > size + 1:
            break
        end = place + extent
    if (count and size - end <= slack) or size - end < 8:
        return body + count, None
    return size, None


def _wav_head(kept: dict[bytes, bytes], count: int, order: str) -> bytes:
    chunks = b"".join(
        name + struct.pack(f"{order}I", len(body)) + body + bytes(len(body) & 1)
        for name, body in kept.items()
    )
    total = 4 + len(chunks) + 8 + count
    if total >= 0xFFFFFFFF:
        long = struct.pack("<4sIQQQI", b"ds64", 28, total + 36, count, 0, 0)
        sizes, magic, total, count = long, b"RF64", 0xFFFFFFFF, 0xFFFFFFFF
    else:
        sizes, magic = b"", b"RIFX" if order == ">" else b"RIFF"
    begin = magic + struct.pack(f"{order}I", total) + b"WAVE" + sizes
    return begin + chunks + b"data" + struct.pack(f"{order}I", count)
