"""Damaged audio files of many formats, read as the pipeline reads them.

python -m benchmarks.fuzz [--files 2000] [--seed 0]

A synthetic voice is written in each format, and bytes of it are changed, cut out, repeated or cut
off, most of them in the header. `stages.audio.reading.read_file` reads each file in a worker
process with 20 s and 500 MB. Wanted are files that are read, or refused with a reason: none may
crash or stop the worker, take more memory, or print into standard output, which belongs to the
answers. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import soundfile
from tabulate import tabulate

from stages.audio.reading import read_file
from stages.running.entry import run_command
from stages.synthesis.demo_corpora import write_corpus

_LIMIT_S, _LIMIT_MB = 20, 500
_RATE_HZ = 16000
#: Format and subtype of libsndfile by name.
_FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "wav-float": ("WAVEX", "FLOAT"),
    "wav-adpcm": ("WAV", "MS_ADPCM"),
    "rf64": ("RF64", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "caf-alac": ("CAF", "ALAC_16"),
    "htk": ("HTK", "PCM_16"),
    "sds": ("SDS", "PCM_16"),
    "nist": ("NIST", "PCM_16"),
    "voc": ("VOC", "PCM_16"),
}
_OUTCOMES = ("read", "refused", "crashed", "hung", "over memory", "printed")
SETTINGS = {
    "sample_rate": _RATE_HZ,
    "denoise": None,
    "trim_db": 40,
    "level": "rms",
    "level_db": -30,
    "min_duration_s": 0.1,
    "min_peak": 0.001,
    "segment_s": None,
    "segment_overlap_s": None,
}


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """Change one to four places of a file, three quarters of them among its first 200 bytes."""
    changed = bytearray(content)
    for _ in range(random.integers(1, 5)):
        last = min(200, len(changed)) if random.random() < 0.75 else len(changed)
        place = int(random.integers(0, max(1, last)))
        kind = random.integers(0, 6)
        if kind == 0:
            changed[place : place + 1] = bytes([changed[place] ^ 1 << int(random.integers(0, 8))])
        elif kind == 1:
            changed[place : place + 1] = random.bytes(1)
        elif kind == 2:
            extreme = random.choice([0, 1, 0x7F, 0x80, 0xFF], 4).astype(np.uint8)
            changed[place : place + 4] = extreme.tobytes()
        elif kind == 3:
            del changed[place : place + int(random.integers(1, 64))]
        elif kind == 4:
            begin = int(random.integers(0, len(changed)))
            changed[place:place] = changed[begin : begin + int(random.integers(1, 64))]
        elif random.random() < 0.3:
            del changed[int(random.integers(1, len(changed))) :]
        if not changed:
            return b""
    return bytes(changed)


def originals(folder: Path) -> dict[str, bytes]:
    """Write one recording of the demo in each format; the files by format."""
    write_corpus("emodb", folder=folder / "voice", speakers=1, sentences=1)
    voice, rate_hz = soundfile.read(sorted((folder / "voice").rglob("*.wav"))[0])
    files = {}
    for name, (form, subtype) in _FORMATS.items():
        path = folder / name
        soundfile.write(path, voice, rate_hz, format=form, subtype=subtype)
        files[name] = path.read_bytes()
    return files


def _work(pipe: Connection, printed: str) -> None:
    """Read each file that is named, and answer how it went."""
    os.dup2(os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + _LIMIT_MB * 10**6, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while path := pipe.recv():
        try:
            facts = read_file(path, write=lambda _: None, folder=None, **SETTINGS)
            outcome = "refused" if facts["excluded"] else "read"
        except MemoryError:
            outcome = "over memory"
        except Exception as error:
            print(f"{path}: {error!r}", file=sys.stderr)
            outcome = "crashed"
        if os.path.getsize(printed):
            os.truncate(printed, 0)
            outcome = "printed"
        pipe.send(outcome)


class _Worker:
    """A process that reads files, replaced when it is lost."""

    def __init__(self, printed: str) -> None:
        here, there = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=_work, args=(there, printed))
        self._process.start()
        there.close()
        self._pipe = here

    def outcome(self, path: Path) -> str:
        """Return how reading a file went; the worker is lost if it crashed or hung."""
        self._pipe.send(str(path))
        if not self._pipe.poll(_LIMIT_S):
            return "hung"
        try:
            return self._pipe.recv()
        except EOFError:
            return "crashed"

    def stop(self) -> None:
        """Let the process end, or kill it."""
        with suppress(OSError):
            self._pipe.send("")
        self._process.join(1)
        self._process.kill()
        self._process.join()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=2000, help="default: 2000")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="new folder for files that fail")
    arguments = parser.parse_args()
    random = np.random.default_rng(arguments.seed)
    counts: dict[str, Counter] = {name: Counter() for name in _FORMATS}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = originals(folder)
        worker = _Worker(str(folder / "printed"))
        for number in range(arguments.files):
            name = list(files)[number % len(files)]
            path = folder / "damaged"
            path.write_bytes(damaged(files[name], random))
            outcome = worker.outcome(path)
            counts[name][outcome] += 1
            if outcome not in ("read", "refused") and arguments.keep:
                arguments.keep.mkdir(exist_ok=True)
                path.rename(arguments.keep / f"{number}-{outcome.replace(' ', '-')}.{name}")
            if outcome in ("crashed", "hung"):
                worker.stop()
                worker = _Worker(str(folder / "printed"))
        worker.stop()
    rows = [
        [name, count.total(), *(count[outcome] for outcome in _OUTCOMES)]
        for name, count in counts.items()
    ]
    total = [sum(column) for column in list(zip(*rows, strict=True))[1:]]
    print(tabulate([*rows, ["all", *total]], ["format", "tried", *_OUTCOMES], "plain"))
    print(
        json.dumps(dict(zip(("tried", *_OUTCOMES), total, strict=True)) | {"seed": arguments.seed})
    )


if __name__ == "__main__":
    run_command(main)
