"""Time, memory and disk of each stage as the hours of speech double, and the law of their growth.

python -m benchmarks.scale [--hours 4] [--clip-s 2.9] [--folder DIR]

Synthetic speech in 20 speakers per hour goes through all stages from `check` to `evaluate`, at so
many hours and at a half, a quarter and an eighth of them. Where the disk does not hold the hours,
they are halved until it does. What 200 hours would cost, or --hours if that is more, follows from
a straight line through the two largest sizes. The last line is a JSON object.

The voices are the demo's: some sentences are synthesised, and each file takes a piece of one at a
place, a level and with noise of its own, so that no recording occurs twice. A stage's output is
removed as soon as no other stage reads it.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import re
import shutil
import tempfile
import termios
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import soundfile
from omegaconf import OmegaConf

from benchmarks.processes import ROOT, Cost, run, together, write_params
from stages.running.entry import run_command
from stages.running.resources import check_disk
from stages.synthesis import voice
from stages.synthesis.prosody import EMOTIONS

_CORPORA = ("one", "two", "three", "four")
_FEATURES = ("mfcc", "rms")
_CLIPS = 62  # of a speaker, who speaks for three minutes at 2.9 s; CREMA-D has 82
_VOICES, _SENTENCES, _SYLLABLES = 10, 2, 12
_TARGET_H = 200
#: Most bytes on disk for a second of speech and for a clip: twice int16, and the tables.
_SECOND_B, _CLIP_B = 2.2 * 2 * voice.SAMPLE_RATE, 8192
#: A stage that says what it needs on disk, on the terminal of `_watched`.
_STAGE = """
import logging, runpy, sys
logging.getLogger("stages.running.resources").setLevel(logging.DEBUG)
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
_NEED = re.compile(r"takes (\d+) bytes on disk")
# Of tqdm: done, total, and the time left in hours, minutes and seconds.
_BAR = re.compile(r"\| ([\d.]+)/([\d.]+) \[[\d:]+<(?:(\d+):)?(\d+):(\d+),")
_LONG_S = 10  # bars that take less round the time left to a large share of it


class Measured(NamedTuple):
    """What one stage took at one size.

    Attributes
    ----------
    cost : Cost
    wrote, need : int
        bytes that it left on disk, and those that it announced before it began
    left : float or None
        time left by its progress bar after a tenth, as a multiple of what it then took; None
        without a bar of at least ten seconds
    """

    cost: Cost
    wrote: int
    need: int
    left: float | None

    def __str__(self) -> str:
        left = "" if self.left is None else f"{self.left:.2f}"
        return f"{self.cost} {self.wrote / 1e6:9.1f} {self.need / 1e6:9.1f} {left:>6}"


_COLUMNS = ("s", "cpu s", "peak MB", "wrote MB", "said MB", "left")
_HEADING = "{:20} {:>8} {:>8} {:>8} {:>9} {:>9} {:>6}".format("", *_COLUMNS)


@cache
def utterances() -> list[list[np.ndarray]]:
    """Synthesise what the speakers say: by voice, then by emotion and sentence, float [samples]."""
    sentences = [voice.draw_sentence(f"scale/{i}", syllables=_SYLLABLES) for i in range(_SENTENCES)]
    said = []
    for number in range(_VOICES):
        name = f"scale/{number}"
        speaker = voice.draw_speaker(name, sex=("female", "male")[number % 2])
        said.append(
            [
                voice.utter(text, speaker=speaker, emotion=emotion, rng=voice.seeded(name, emotion))
                for emotion in EMOTIONS
                for text in sentences
            ]
        )
    return said


def write_corpora(folder: Path, *, clips: int, clip_s: float) -> None:
    """Write so many files of about so many seconds: <corpus>/<speaker>/<emotion>/<number>.wav."""
    said, emotions = utterances(), list(EMOTIONS)
    speakers = max(3 * len(_CORPORA), clips // _CLIPS)
    for number in range(clips):
        rng = np.random.default_rng(number)
        speaker, take = number % speakers, number // speakers
        emotion, text = take % len(emotions), take // len(emotions) % _SENTENCES
        speech = said[speaker % _VOICES][emotion * _SENTENCES + text]
        samples = round(clip_s * voice.SAMPLE_RATE * rng.uniform(0.6, 1.4))
        first = rng.integers(len(speech))
        piece = np.resize(np.roll(speech, -first), samples) * rng.uniform(0.5, 2)
        piece += rng.standard_normal(samples, np.float32) * (0.01 * voice.NEUTRAL_RMS)
        corpus = _CORPORA[speaker % len(_CORPORA)]
        path = folder / corpus / f"{speaker:05}" / emotions[emotion] / f"{number:07}.wav"
        if number < speakers * len(emotions):
            path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, piece.clip(-1, 1), voice.SAMPLE_RATE, subtype="PCM_16")


def write_settings(folder: Path) -> None:
    """Write params.yaml: these corpora, two features, a small network, one epoch, five folds."""
    overrides = [f"features=[{','.join(_FEATURES)}]", "train.epochs=1"]
    params = write_params(folder, *overrides, corpora=folder / "raw", names=["folder"], model="gru")
    settings = OmegaConf.to_container(params, resolve=True)
    assert isinstance(settings, dict)
    corpus = settings["corpora"]["folder"]
    corpus["reader"] |= {"roots": ["*"], "speaker": "^(?P<speaker>[^/]+)/"}
    settings["corpora"] = dict.fromkeys(_CORPORA, corpus)
    OmegaConf.save(OmegaConf.create(settings), folder / "params.yaml")
    (folder / "conf").symlink_to(ROOT / "conf")


def run_stages(folder: Path) -> Iterator[tuple[str, Measured]]:
    """Run all stages in a folder and yield what each took, `prepare` for all corpora."""
    yield "check", _watched(["stages.check"], folder=folder)
    prepared = []
    for corpus in _CORPORA:
        prepared.append(_watched(["stages.prepare", corpus], folder=folder))
        shutil.rmtree(folder / "raw" / corpus)
    yield "prepare", _together(prepared)
    yield "merge", _watched(["stages.merge"], folder=folder)
    shutil.rmtree(folder / "data/corpora")
    for feature in _FEATURES:
        yield f"features {feature}", _watched(["stages.features", feature], folder=folder)
    for stage in ("split", "train", "robustness", "evaluate"):
        yield stage, _watched([f"stages.{stage}"], folder=folder)


def _watched(arguments: Sequence[str], *, folder: Path) -> Measured:
    """Run a stage whose messages and progress go to a terminal, which is read."""
    before = _size(folder)
    with _terminal() as (terminal, heard):
        cost = run(["-c", _STAGE, *arguments], folder=folder, stderr=terminal)
        ended = time.perf_counter()
    text = "".join(part for _, part in heard)
    return Measured(
        cost,
        wrote=_size(folder) - before,
        need=sum(int(need) for need in _NEED.findall(text)),
        left=_left(heard, ended=ended),
    )


@contextmanager
def _terminal() -> Iterator[tuple[int, list[tuple[float, str]]]]:
    """Open a terminal, and collect what is written to it with the time; all of it at the end."""
    reader, writer = pty.openpty()
    termios.tcsetwinsize(writer, (24, 100))
    heard: list[tuple[float, str]] = []

    def listen() -> None:
        try:
            while part := os.read(reader, 1 << 16):
                heard.append((time.perf_counter(), part.decode(errors="replace")))
        except OSError:  # the last writer has closed
            pass

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield writer, heard
    finally:
        os.close(writer)
        thread.join()
        os.close(reader)


def _left(heard: Sequence[tuple[float, str]], *, ended: float) -> float | None:
    """Compare the time left that a bar showed after the first tenth with the time it then took."""
    shown = [
        (at, float(done) / float(total), 3600 * int(hours or 0) + 60 * int(minutes) + int(seconds))
        for at, part in heard
        for done, total, hours, minutes, seconds in _BAR.findall(part)
    ]
    begun = next((at for at, part in heard if "%|" in part), ended)
    finished = next((at for at, done, _ in shown if done >= 1), ended)
    if finished - begun < _LONG_S:
        return None
    return next((left / (finished - at) for at, done, left in shown if 0.1 <= done < 1), None)


def _size(folder: Path) -> int:
    """Bytes of all files that stages write in a folder."""
    tops = [folder / name for name in ("data", "models", "reports", "logs")]
    return sum(path.stat().st_size for top in tops for path in top.rglob("*") if path.is_file())


def measure(hours: float, *, clip_s: float, scratch: Path) -> dict[str, Measured]:
    """Generate so many hours, run all stages and print what each took."""
    clips = round(hours * 3600 / clip_s)
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        folder = Path(name)
        write_settings(folder)
        begun = time.process_time()
        write_corpora(folder / "raw", clips=clips, clip_s=clip_s)
        print(f"\n{hours:g} h, {clips} clips, made in {time.process_time() - begun:.0f} CPU s")
        print(_HEADING)
        found: dict[str, Measured] = {}
        for stage, measured in run_stages(folder):
            found[stage] = measured
            print(f"{stage:20} {measured}", flush=True)
    return found


def _together(parts: Sequence[Measured]) -> Measured:
    """Add up runs of a stage one after the other; the first bar that is long enough counts."""
    lefts = [part.left for part in parts if part.left is not None]
    return Measured(
        together([part.cost for part in parts]),
        wrote=sum(part.wrote for part in parts),
        need=sum(part.need for part in parts),
        left=lefts[0] if lefts else None,
    )


def line(sizes: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Constant and slope of the line through the last two points."""
    slope = (values[-1] - values[-2]) / (sizes[-1] - sizes[-2])
    return values[-1] - slope * sizes[-1], slope


def growth(values: Sequence[float]) -> float | None:
    """Ratio of the last increase to the one before, over doublings; None without three values.

    2 is linear growth, whatever the constant; 4 is quadratic.
    """
    if len(values) < 3 or values[-2] <= values[-3]:
        return None
    return (values[-1] - values[-2]) / (values[-2] - values[-3])


def law(
    sizes: Sequence[float], runs: Sequence[Mapping[str, Measured]], *, target_h: float
) -> dict[str, float]:
    """Print what each stage costs by the hours and at the target; return the same as figures."""
    print(f"\nCPU s = constant + slope * hours, by {sizes[-2]:g} h and {sizes[-1]:g} h")
    columns = ("constant", "per hour", "doubling", "increase", f"{target_h:g} h", "peak MB", "MB/h")
    print("{:20} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7}".format("", *columns))
    figures: dict[str, float] = {}
    totals = [sum(measured.cost.cpu_s for measured in found.values()) for found in runs]
    peaks = [max(measured.cost.peak_mb for measured in found.values()) for found in runs]
    rows = {
        stage: (
            [found[stage].cost.cpu_s for found in runs],
            [found[stage].cost.peak_mb for found in runs],
        )
        for stage in runs[-1]
    } | {"all": (totals, peaks)}
    for stage, (cpu_s, peak_mb) in rows.items():
        constant, slope = line(sizes, cpu_s)
        _, mb = line(sizes, peak_mb)
        ratio = cpu_s[-1] / cpu_s[-2]
        increase = growth(cpu_s)
        at_target = constant + slope * target_h
        shown = "" if increase is None else f"{increase:.2f}"
        print(
            f"{stage:20} {constant:9.1f} {slope:9.2f} {ratio:9.2f} {shown:>9} {at_target:9.0f} "
            f"{max(peak_mb):9.0f} {mb:7.1f}"
        )
        name = stage.replace(" ", "_")
        figures |= {
            f"{name}_cpu_s_per_hour": round(slope, 2),
            f"{name}_doubling": round(ratio, 2),
            f"{name}_peak_mb": round(max(peak_mb)),
            f"{name}_peak_mb_per_hour": round(mb, 2),
        }
        if increase is not None:
            figures[f"{name}_increase"] = round(increase, 2)
    figures["target_cpu_s"] = round(sum(line(sizes, totals)[i] * (1, target_h)[i] for i in (0, 1)))
    return figures


def fitting(hours: float, *, clip_s: float, scratch: Path) -> float:
    """Halve the hours until the disk holds them, generated and prepared."""
    while True:
        need = int(hours * 3600 * (_SECOND_B + _CLIP_B / clip_s))
        try:
            check_disk(f"--hours {hours:g}: speech and its clips", need=need, folder=scratch)
            return hours
        except ValueError as error:
            if hours < 1:
                raise
            print(f"{error}: halved")
            hours /= 2


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=4, help="of speech, at most")
    parser.add_argument("--clip-s", type=float, default=2.9, help="mean length of a clip")
    parser.add_argument("--doublings", type=int, default=3, help="number of smaller sizes")
    parser.add_argument(
        "--folder", type=Path, help="with room; by default the system's temporary one"
    )
    wanted = parser.parse_args()
    scratch = Path(wanted.folder or tempfile.gettempdir()).resolve()
    largest = fitting(wanted.hours, clip_s=wanted.clip_s, scratch=scratch)
    sizes = [largest / 2**number for number in range(wanted.doublings, -1, -1)]
    runs = [measure(hours, clip_s=wanted.clip_s, scratch=scratch) for hours in sizes]
    figures = law(sizes, runs, target_h=max(_TARGET_H, wanted.hours))
    lefts = [measured.left for measured in runs[-1].values() if measured.left is not None]
    wrote, need = (sum(getattr(m, name) for m in runs[-1].values()) for name in ("wrote", "need"))
    figures |= {
        "hours": largest,
        "clips": round(largest * 3600 / wanted.clip_s),
        "cores": joblib.cpu_count(),
        "wrote_mb": round(wrote / 1e6, 1),
        "said_mb": round(need / 1e6, 1),
    }
    if lefts:
        figures |= {"left_least": round(min(lefts), 2), "left_most": round(max(lefts), 2)}
    print(json.dumps(figures))


if __name__ == "__main__":
    run_command(main)
