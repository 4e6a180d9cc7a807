"""Duration of audio files of all formats, rates and channels, whole and with wrong headers.

python -m benchmarks.durations [--seed 0]

A voice is written in each format and coding of libsndfile, at several rates and with several
channels; then sizes in headers are changed, other bytes are put before and after the sound, or the
end is cut off. `stages.audio.reading.read_file` must find the right duration within 0.1 s, or give
a reason. A cut file is also right as far as it goes. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import struct
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import soundfile
from tabulate import tabulate

from benchmarks.fuzz import SETTINGS
from stages.audio.reading import read_file
from stages.audio.views import TOLERANCE_S
from stages.running.entry import run_command

_RATES, _CHANNELS = (8000, 16000, 22050, 44100, 48000), (1, 2, 6)
_SECONDS = (0.4, 1.25, 2.7)
#: Without a header, in two files, or with a header that cannot hold these rates.
_LEFT_OUT = {"RAW", "SD2", "SVX", "MPC2K", "WVE", "XI"}
#: Where the size of the sound stands in a header: mark before it, and its byte order.
_SIZES = {"WAV": (b"data", "<"), "WAVEX": (b"data", "<"), "AIFF": (b"SSND", ">")}
_STREAMS = {"MP3", "OGG", "FLAC"}
_TAG, _TAG_AT_END = b"ID3\x03\0\0\0\0\0\x0a" + bytes(10), b"TAG" + bytes(125)


def written(folder: Path, random: np.random.Generator) -> Iterator[tuple[str, bytes, float]]:
    """Yield format, content and duration in s of sound files."""
    path = folder / "sound"
    for form in sorted(set(soundfile.available_formats()) - _LEFT_OUT):
        for coding in soundfile.available_subtypes(form):
            for rate in _RATES:
                channels, seconds = random.choice(_CHANNELS), random.choice(_SECONDS)
                samples = 0.1 * random.standard_normal((round(seconds * rate), channels))
                # Many codings take some rates and numbers of channels alone.
                with suppress(soundfile.LibsndfileError):
                    soundfile.write(path, samples, rate, format=form, subtype=coding)
                    yield form, path.read_bytes(), len(samples) / rate


def changed(form: str, content: bytes, seconds: float) -> Iterator[tuple[str, bytes, float]]:
    """Yield what was changed, the content, and the duration of what is left: NaN if unknown."""
    yield "none", content, seconds
    yield "cut off", content[: len(content) * 3 // 5], math.nan
    if form in _SIZES:
        mark, order = _SIZES[form]
        place = content.find(mark) + 4
        (size,) = struct.unpack(f"{order}I", content[place : place + 4])
        for said in (0, 0xFFFFFFFF, 0x7FFFFFFF, size + 44, size - 2, size // 2):
            head = content[:place] + struct.pack(f"{order}I", said)
            yield "size in header", head + content[place + 4 :], seconds
    if form in _STREAMS or form.startswith("WAV"):
        yield "tag before", _TAG + content, seconds
        yield "tag after", content + _TAG_AT_END, seconds
    if form in _STREAMS:
        yield "joined", 2 * content, 2 * seconds


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    random = np.random.default_rng(parser.parse_args().seed)
    counts: dict[str, Counter] = {}
    wrong = []
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "changed")
        for form, content, seconds in written(Path(scratch), random):
            for what, bytes_, want in changed(form, content, seconds):
                path.write_bytes(bytes_)
                facts = read_file(path, write=lambda _: None, folder=None, **SETTINGS)
                got = facts["duration_s"]
                low, high = (0.0, seconds) if math.isnan(want) else (want, want)
                right = low - TOLERANCE_S <= got <= high + TOLERANCE_S
                outcome = "reason" if facts["excluded"] else "right" if right else "wrong"
                counts.setdefault(what, Counter())[outcome] += 1
                if outcome == "wrong" or (what == "none" and outcome == "reason"):
                    found = facts["excluded"] or f"{got:.2f} s, want {want:.2f} s"
                    wrong.append(f"{form}, change {what}: got {found}")
    outcomes = ("right", "reason", "wrong")
    rows = [[what, *(count[one] for one in outcomes)] for what, count in counts.items()]
    print(tabulate(rows, ["change", *outcomes], "plain"), *wrong, sep="\n")
    totals = {one: sum(count[one] for count in counts.values()) for one in outcomes}
    print(json.dumps({"files": sum(totals.values())} | totals))


if __name__ == "__main__":
    run_command(main)
