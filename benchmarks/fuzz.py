"""Damaged audio files of many formats, given to each part of Inflect that reads files.

python -m benchmarks.fuzz [--files 2000] [--seed 0] [--ways prepare predict serve page]

A synthetic voice is written in each format, and bytes of it are changed, cut out, repeated or cut
off, most of them in the header. Each way reads every file in a worker process:

prepare   `stages.audio.reading.read_file`, as the pipeline does
predict   `app.predict --format json`, with 20 files per call; standard output must be JSON with a
          row per file
serve     uploads to `app.serve` over the loopback; the status must be 200, 413, 415 or 422, and the
          answer a row with an emotion or a reason
page      20 uploads at a time to the web page, which must list each or say why not

Wanted are files that are read, or refused with a reason. None may crash or stop the worker, take
20 s of CPU time or 500 MB, or print into standard output, which belongs to the answers. `predict`,
`serve` and `page` use models/pretrained. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import http.client
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil
import soundfile
import uvicorn
from streamlit.testing.v1 import AppTest

from app import predict, serve
from app.models import PRETRAINED, load_model
from app.web import verbatim
from benchmarks.processes import ROOT
from stages.audio.reading import read_file
from stages.running.entry import run_command
from stages.synthesis.demo_corpora import write_corpus

#: CPU time and memory that a file may take; whatever has not answered by then hangs.
_LIMIT_S, _LIMIT_MB, _PATIENCE_S = 20, 500, 600
_TOGETHER = 20  # files in a call of app.predict, or on the page
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


#: Reads files; returns the outcome of each.
Reader = Callable[[Sequence[Path]], list[str]]


def _prepare() -> Reader:
    """Read files as the pipeline does."""

    def read(paths: Sequence[Path]) -> list[str]:
        facts = [
            read_file(path, write=lambda _: None, folder=None, **SETTINGS)
            for path in map(str, paths)
        ]
        return ["refused" if fact["excluded"] else "read" for fact in facts]

    return read


def _predict() -> Reader:
    """Call `app.predict`, whose standard output is a file."""
    command = ["predict", "--format", "json", "--model", str(ROOT / PRETRAINED)]

    def read(paths: Sequence[Path]) -> list[str]:
        sys.argv = [*command, *map(str, paths)]
        begin = os.fstat(1).st_size
        with suppress(SystemExit):
            run_command(predict.main)
        sys.stdout.flush()
        with open("/dev/fd/1", "rb+") as printed:
            printed.seek(begin)
            rows = json.loads(printed.read())
            printed.truncate(begin)
        return _fates(rows, [str(path) for path in paths])

    return read


def _serve() -> Reader:
    """Upload files to a server in this process, one at a time."""
    model = load_model(ROOT / PRETRAINED)
    app = serve.build(model, jobs=1, waiting=1, timeout_s=_PATIENCE_S, streams=1)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    begin = '--mark\r\nContent-Disposition: form-data; name="files"; filename="{}"\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=mark"}

    def upload(path: Path) -> str:
        body = begin.format(path.name).encode() + path.read_bytes() + b"\r\n--mark--\r\n"
        with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
            connection.request("POST", "/predict", body, kind)
            answer = connection.getresponse()
            (outcome,) = _fates(json.loads(answer.read()), [path.name])
        if answer.status not in ((200,) if outcome == "read" else (413, 415, 422)):
            raise ValueError(f"got status {answer.status} of a file that was {outcome}")
        return outcome

    return lambda paths: [upload(path) for path in paths]


def _page() -> Reader:
    """Upload files to the page, all at once."""
    os.environ["INFLECT_MODEL"] = str(ROOT / PRETRAINED)
    page = AppTest.from_file(str(ROOT / "app/web.py"), default_timeout=_PATIENCE_S).run()

    def read(paths: Sequence[Path]) -> list[str]:
        files = [(path.name, path.read_bytes(), "audio/wav") for path in paths]
        page.file_uploader[-1].set_value(files).run()
        if page.exception:
            raise ValueError(page.exception[0].value)
        faults = {error.value.partition(" cannot be used: ")[::2] for error in page.error}
        said = dict(faults)
        names = [verbatim(path.name) for path in paths]
        refused = [bool(said.get(name)) for name in names]
        chosen = page.selectbox[0].options if page.selectbox else []
        shown = len(chosen) or len(page.subheader)
        if sum(refused) != len(page.error) or shown != len(paths) - len(page.error):
            raise ValueError(f"got {len(said)} errors and {shown} answers for {len(paths)} files")
        return ["refused" if fault else "read" for fault in refused]

    return read


def _fates(rows: list[dict], names: Sequence[str]) -> list[str]:
    """Check that there is a row per file, in order, with an emotion or a reason."""
    if [row["file"] for row in rows] != list(names):
        raise ValueError(f"got {rows}, want a row for each of {names}")
    fates = ["refused" if row.get("error") else "read" for row in rows]
    if any("emotion" not in row for row, fate in zip(rows, fates, strict=True) if fate == "read"):
        raise ValueError(f"got {rows}, want an emotion or an error in each")
    return fates


#: Makes a reader in a worker, and how many files it reads at a time.
WAYS: dict[str, tuple[Callable[[], Reader], int]] = {
    "prepare": (_prepare, 1),
    "predict": (_predict, _TOGETHER),
    "serve": (_serve, 1),
    "page": (_page, _TOGETHER),
}


def _memory_mb(name: str) -> float:
    """Memory of this process: VmRSS of now, VmHWM at most since it was reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1000


def _work(pipe: Connection, printed: str, way: str, healthy: Sequence[Path]) -> None:
    """Read each group of files that is named, and answer how it went."""
    os.dup2(os.open(printed, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND), 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    gc.freeze()  # garbage of the parent, freed while a file is read, would hide what the file takes
    read = WAYS[way][0]()
    read(healthy)  # what is loaded once is not counted
    pipe.send("ready")
    library = ctypes.CDLL(None)
    while paths := pipe.recv():
        library.malloc_trim(0)  # memory that is free, but held, would hide what the file takes
        held = _memory_mb("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        try:
            outcomes = read(paths)
        except MemoryError:
            outcomes = ["over memory"] * len(paths)
        except Exception as error:
            print(f"{way}: {error!r}", file=sys.stderr)
            outcomes = ["crashed"] * len(paths)
        if _memory_mb("VmHWM") - held > _LIMIT_MB:
            outcomes = ["over memory"] * len(paths)
        if os.path.getsize(printed):
            os.truncate(printed, 0)
            outcomes = ["printed"] * len(paths)
        pipe.send(outcomes)


class _Worker:
    """A process that reads files, replaced when it is lost."""

    def __init__(self, *start: object) -> None:
        self._start = start
        self._begin()

    def _begin(self) -> None:
        self._pipe, there = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=_work, args=(there, *self._start))
        self._process.start()
        there.close()
        try:
            self._pipe.recv()
        except EOFError:
            raise ValueError(f"{self._start[1]}: undamaged files were not read") from None

    def outcomes(self, paths: Sequence[Path]) -> list[str]:
        """Return how reading each file went."""
        begun, used = time.monotonic(), self._used()
        self._pipe.send(paths)
        while not self._pipe.poll(0.2):
            if self._used() - used > _LIMIT_S or time.monotonic() - begun > _PATIENCE_S:
                lost = "hung"
                break
        else:
            try:
                return self._pipe.recv()
            except EOFError:
                lost = "crashed"
        self.stop()
        self._begin()
        return [lost] * len(paths)

    def _used(self) -> float:
        """CPU time of the process, in seconds; no more once it has ended."""
        try:
            times = psutil.Process(self._process.pid).cpu_times()
        except psutil.NoSuchProcess:
            return 0.0
        return times.user + times.system

    def stop(self) -> None:
        """Let the process end, or kill it."""
        with suppress(OSError):
            self._pipe.send([])
        self._process.join(1)
        self._process.kill()
        self._process.join()


def _outcomes(worker: _Worker, paths: list[Path]) -> list[str]:
    """Return how reading each file went; where a group failed, of each file alone."""
    found = worker.outcomes(paths)
    if len(paths) > 1 and set(found) - {"read", "refused"}:
        alone = [worker.outcomes([path])[0] for path in paths]
        if set(alone) - {"read", "refused"}:
            return alone
    return found


def trial(way: str, *, files: int, seed: int, keep: Path | None = None) -> Iterator[str]:
    """Read as many damaged files in one way; yields the outcome of each.

    Parameters
    ----------
    way : str
        of WAYS
    files, seed : int
        the same seed gives the same files in each way
    keep : Path or None
        folder for files that fail
    """
    random = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        whole = originals(folder)
        healthy = [folder / name for name in list(whole)[: WAYS[way][1]]]
        worker = _Worker(str(folder / "printed"), way, healthy)
        for first in range(0, files, WAYS[way][1]):
            paths = []
            for number in range(first, min(first + WAYS[way][1], files)):
                name = list(whole)[number % len(whole)]
                paths.append(folder / f"{number:06}.{name}")
                paths[-1].write_bytes(damaged(whole[name], random))
            for path, outcome in zip(paths, _outcomes(worker, paths), strict=True):
                if outcome not in ("read", "refused") and keep:
                    keep.mkdir(exist_ok=True)
                    path.rename(keep / f"{way}-{outcome.replace(' ', '-')}-{path.name}")
                path.unlink(missing_ok=True)
                yield outcome
        worker.stop()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=2000, help="default: 2000")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="default: all")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="new folder for files that fail")
    arguments = parser.parse_args()
    counts = {}
    for way in arguments.ways:
        outcomes = Counter(
            trial(way, files=arguments.files, seed=arguments.seed, keep=arguments.keep)
        )
        counts[way] = {"tried": outcomes.total()} | {name: outcomes[name] for name in _OUTCOMES}
        print(f"{way}: {counts[way]}", flush=True)
    print(json.dumps(counts | {"seed": arguments.seed}))


if __name__ == "__main__":
    run_command(main)
