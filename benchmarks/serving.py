"""Speed and memory of app.serve under load, against librosa and torch behind FastAPI.

python -m benchmarks.serving --corpora DIR [--model FILE] [--checkpoint PATH] [--seconds 60]
    [--clients 8] [--streams 50]

Clients in a process of their own post 3 s of real speech each, as WAV at 16 kHz, over the loopback,
and post again as soon as they have an answer. Then live streams speak in real time, with an answer
for each 0.25 s. The baseline loads each file with librosa and runs the same network in torch, as in
benchmarks.inference; it needs the checkpoint, and is left out for a --model without one. Client and
server share the processors, so the table has the CPU time of both, and of whatever else runs: there
should be next to nothing. The last line is a JSON object, with the ratio of CPU times per file as
`librosa_torch_times`.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import psutil
import soundfile
import torch
import uvicorn
from fastapi import FastAPI, UploadFile

from app.models import MODEL, load_model
from benchmarks import clients
from benchmarks.inference import sample_files, usual_answer
from benchmarks.processes import ROOT, memory_mb
from stages.running.entry import run_command

_FILES, _FILE_S, _RATE = 50, 3, 16000
_STEP_S = 0.25
_START_S = 60  # that a server may take to start
_EVERY_S = 1.0  # between looks at the memory
_HEADING = (
    f"{'':34} {'per s':>7} {'p50 ms':>7} {'p99 ms':>7} {'cpu ms each':>11} {'cpu s: server':>13} "
    f"{'clients':>8} {'others':>7} {'MB: first':>9} {'last':>6}"
)


def plain(checkpoint: Path, audio: dict[str, Any], port: int) -> None:
    """Serve what most code does: load a file with librosa, run a network in torch."""
    torch.set_num_threads(1)
    usual = usual_answer(checkpoint, audio=audio)
    server = FastAPI()

    @server.post("/predict")
    def answer(files: UploadFile) -> dict[str, list[float]]:
        """Recognise the emotion of a file."""
        waveform, _ = librosa.load(files.file, sr=audio["sample_rate"])
        return {"probabilities": usual(waveform).tolist()}

    uvicorn.run(server, host="127.0.0.1", port=port, log_level="warning")


class Watch(threading.Thread):
    """Looks at the memory of a server, in MB with its helpers, until it is told to stop."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._done = pid, threading.Event()
        self.seen: list[float] = []

    def run(self) -> None:
        """Look every second."""
        while not self._done.wait(_EVERY_S):
            self.seen.append(memory_mb(self._pid))

    def ends(self) -> tuple[float, float]:
        """Stop; return the largest memory in the first and in the last fifth of the time."""
        self._done.set()
        self.join()
        part = max(1, len(self.seen) // 5)
        return max(self.seen[:part]), max(self.seen[-part:])


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and its children, in seconds."""
    own = psutil.Process(pid)
    return sum(
        times.user + times.system
        for times in (process.cpu_times() for process in (own, *own.children(recursive=True)))
    )


def busy_seconds() -> float:
    """CPU time of all processes of this machine, in seconds."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0)


@contextmanager
def serving(start: Callable[[int], Any]) -> Iterator[tuple[int, int]]:
    """Start a server on a free port and end it afterwards; its port and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = start(port)
    try:
        end = time.monotonic() + _START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                if time.monotonic() > end:
                    raise ValueError(f"server: no answer in {_START_S} s, want one") from None
                time.sleep(0.1)
        yield port, process.pid
    finally:
        process.terminate()
        getattr(process, "wait", None) and process.wait()


def measure(label: str, pid: int, work: Callable[..., clients.Heard], *told: Any, **more: Any):
    """Run clients in a process of their own, print a row, and return its figures."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        pool.submit(time.process_time).result()  # has started
        watch, used, busy = Watch(pid), cpu_seconds(pid), busy_seconds()
        watch.start()
        heard = pool.submit(work, *told, **more).result()
        used, busy = cpu_seconds(pid) - used, busy_seconds() - busy
        first, last = watch.ends()
    all_s = np.concatenate([np.zeros(0), *heard.latencies_s])
    for fault in sorted(set(heard.faults)):
        print(f"{label}: {heard.faults.count(fault)} times {fault}", file=sys.stderr)
    p50, p99 = 1000 * np.percentile(all_s, [50, 99]) if len(all_s) else (np.nan, np.nan)
    each = 1000 * used / max(1, len(all_s))
    rate, others = len(all_s) / heard.seconds, max(0.0, busy - used - heard.cpu_s)
    print(
        f"{label:34} {rate:7.1f} {p50:7.0f} {p99:7.0f} {each:11.1f} {used:13.1f} "
        f"{heard.cpu_s:8.1f} {others:7.1f} {first:9.0f} {last:6.0f}",
        flush=True,
    )
    figures = {"per_s": rate, "p50_ms": p50, "p99_ms": p99, "first_mb": first, "last_mb": last}
    costs = {
        "cpu_ms_each": each,
        "server_cpu_s": used,
        "clients_cpu_s": heard.cpu_s,
        "others_cpu_s": others,
    }
    costs["failed"] = len(heard.faults)
    return heard, figures | costs


def in_real_time(latencies_s: Sequence[Sequence[float]], *, step_s: float) -> int:
    """Count the streams of which 99 in 100 answers came before the next step."""
    return sum(bool(np.percentile(own, 99) < step_s) for own in latencies_s)


def wav_files(corpora: Path) -> list[bytes]:
    """Cut 3 s each from real speech, as WAV files."""
    files = sample_files(corpora, count=2 * _FILES)
    speech = np.concatenate([librosa.load(file, sr=_RATE)[0] for file in files])
    found = []
    for piece in speech[: len(speech) // (_FILE_S * _RATE) * _FILE_S * _RATE].reshape(
        -1, _FILE_S * _RATE
    )[:_FILES]:
        content = io.BytesIO()
        soundfile.write(content, piece, _RATE, format="WAV", subtype="PCM_16")
        found.append(content.getvalue())
    return found


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", type=Path, required=True, help="folder of all corpora")
    parser.add_argument("--model", type=Path, help=f"default: {MODEL}")
    parser.add_argument("--checkpoint", type=Path, help="default: that of the same run")
    parser.add_argument("--seconds", type=float, default=60, help="of each measurement")
    parser.add_argument("--clients", type=int, default=8, help="that post at a time")
    parser.add_argument("--streams", type=int, default=50, help="live streams at a time")
    wanted = parser.parse_args()
    path = (wanted.model or MODEL).resolve()
    model, checkpoint = load_model(path), wanted.checkpoint
    if checkpoint is None and wanted.model is None:
        checkpoint = Path("models/folds/fold_all-seed_0.pt")
    files = wav_files(wanted.corpora.resolve())
    samples = b"".join(content[44:] for content in files)
    load = {"clients": wanted.clients, "seconds": wanted.seconds}
    print(f"{os.cpu_count()} cores, {wanted.clients} clients, {wanted.seconds:g} s each")
    print(_HEADING)

    def own(port: int) -> subprocess.Popen:
        command = [sys.executable, "-m", "app.serve", "--model", str(path), "--port", str(port)]
        return subprocess.Popen([*command, "--streams", str(wanted.streams)], cwd=ROOT)

    figures: dict[str, Any] = {}
    with serving(own) as (port, pid):
        _, figures["requests"] = measure("3 s of speech", pid, clients.upload, port, files, **load)
    label, speak = f"{wanted.streams} live streams", {"streams": wanted.streams, "step_s": _STEP_S}
    with serving(own) as (port, pid):
        heard, found = measure(
            label, pid, clients.stream, port, samples, seconds=wanted.seconds, **speak
        )
    kept = in_real_time(heard.latencies_s, step_s=_STEP_S)
    print(f"{kept} of {wanted.streams} streams stay in real time")
    figures["streams"] = found | {"in_real_time": kept}
    if checkpoint:

        def usual(port: int) -> multiprocessing.Process:
            process = multiprocessing.get_context("spawn").Process(
                target=plain, args=(checkpoint, model.audio, port), daemon=True
            )
            process.start()
            return process

        with serving(usual) as (port, pid):
            label = "3 s of speech, librosa and torch"
            _, figures["baseline"] = measure(label, pid, clients.upload, port, files, **load)
        times = figures["baseline"]["cpu_ms_each"] / figures["requests"]["cpu_ms_each"]
        figures["librosa_torch_times"] = times
    print(json.dumps(_rounded(figures)))


def _rounded(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: _rounded(value) for name, value in found.items()}
    return float(f"{found:.3g}")


if __name__ == "__main__":
    run_command(main)
