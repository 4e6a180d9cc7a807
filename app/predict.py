"""Emotion of audio files: one answer per file, or one per window.

python -m app.predict FILE|FOLDER|GLOB ... [--format table|json|csv] [--window 3 --hop 1]
    [--speaker FILE|FOLDER|GLOB ...] [--profile FILE]

Reads any format that libsndfile reads, at any sample rate, with any number of channels and of any
length. A file longer than ten seconds is cut into equal windows and their probabilities are
averaged, without silent windows. With --window, each window has its own answer, or none if it is
silent. A file that cannot be used has an error instead of an emotion; the exit code is then 1.

A model that was trained with calibration to speakers can get used to a voice first: --speaker names
recordings of it, with whatever emotions. --profile keeps what was learnt, or uses it again.
"""

from __future__ import annotations

import argparse
import csv
import glob
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate
from tqdm import tqdm

from app.models import DEFAULT, Model, Speaker, default_model, load_model
from app.profiles import WINDOW_S, Profile, enrol
from app.windows import Tick, no_tick, read_windows
from stages.running.entry import printable, run_command
from stages.sources.files import audio_files


def find_files(paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Find the named files, the audio files in named folders, and files that match a pattern.

    Yields
    ------
    (str, str)
        the path of a file and ""; or a named path and the reason why it gives no file
    """
    for path in paths:
        if not path:
            yield path, "got an empty path, want a file or a folder"
        elif os.path.isdir(path):
            try:
                files = audio_files(Path(path))
            except OSError as error:
                yield path, f"{error.filename} cannot be read: {error.strerror}"
            except ValueError as error:
                yield path, str(error).removeprefix(f"{Path(path)}: ")
            else:
                yield from ((str(Path(path, file)), "") for file in files)
        elif glob.has_magic(path) and not os.path.lexists(path):
            matches = sorted(glob.glob(path, recursive=True))
            if not matches:
                yield path, "no file matches this pattern"
            yield from find_files(matches)
        else:
            yield path, ""


def predict(
    model: Model,
    file: str | Path,
    *,
    window_s: float | None = None,
    hop_s: float | None = None,
    speaker: Speaker | None = None,
    tick: Tick = no_tick,
) -> list[dict]:
    """Recognise the emotion of one file.

    Parameters
    ----------
    model : Model
    file : path
    window_s, hop_s : float or None
        duration of the windows and distance of their starts, in seconds; None for one answer per
        file
    speaker : Speaker or None
        whose voice it is; None: the average one
    tick : callable
        see app.windows.Tick

    Returns
    -------
    list of dict
        one row per answer: file, emotion, the probability of each label as p_<label>, and for
        windows start_s and end_s. The emotion of silence is None. If the file cannot be used, one
        row with only file and error.
    """
    read = partial(read_windows, file, tick=tick, **model.audio)
    try:
        if window_s is None:
            windows = read(window_s=WINDOW_S)
            probabilities = model.mean((window.samples for window in windows), speaker)
            return [{"file": str(file), **named(model, probabilities)}]
        return [
            {
                "file": str(file),
                "start_s": round(window.start_s, 3),
                "end_s": round(window.end_s, 3),
                **named(model, model.mean([window.samples], speaker)),
            }
            for window in read(window_s=window_s, hop_s=hop_s)
        ]
    except ValueError as error:
        return [{"file": str(file), "error": str(error)}]


def named(model: Model, probabilities: NDArray[np.float64] | None) -> dict:
    """Return the most probable label as `emotion` and all probabilities as p_<label>."""
    if probabilities is None:
        return {"emotion": None}
    values = dict(zip(model.labels, probabilities.tolist(), strict=True))
    rounded = {f"p_{label}": round(value, 6) for label, value in values.items()}
    return {"emotion": max(values, key=values.__getitem__), **rounded}


def columns(model: Model, *, over_time: bool) -> list[str]:
    """List the columns that rows of `predict` may have."""
    times = ["start_s", "end_s"] if over_time else []
    return ["file", *times, "emotion", *(f"p_{label}" for label in model.labels), "error"]


def format_answers(answers: Sequence[dict], *, form: str, names: Sequence[str]) -> str:
    """Format answers as a table, as JSON, or as CSV with the given columns."""
    if form == "json":
        return json.dumps(answers, indent=2)
    if form == "csv":
        stream = io.StringIO()
        # Quotes around every name where one holds a carriage return, which csv leaves bare.
        bare = any("\r" in str(answer["file"]) for answer in answers)
        quoting: Any = csv.QUOTE_NONNUMERIC if bare else csv.QUOTE_MINIMAL
        writer = csv.DictWriter(stream, names, lineterminator="\n", quoting=quoting)
        writer.writeheader()
        writer.writerows(answers)
        return stream.getvalue().rstrip("\n")
    kept = [name for name in names if any(answer.get(name) is not None for answer in answers)]
    rows = [[_cell(answer.get(name)) for name in kept] for answer in answers]
    headers = [name.removeprefix("p_") for name in kept]
    align = ["right" if name.startswith(("p_", "start", "end")) else "left" for name in kept]
    return tabulate(rows, headers, "plain", disable_numparse=True, colalign=align if rows else None)


def _cell(value: str | float | None) -> str:
    return f"{value:.2f}" if isinstance(value, float) else printable(value or "")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", metavar="FILE|FOLDER|GLOB")
    parser.add_argument("--model", type=Path, metavar="FILE", help=DEFAULT)
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table")
    parser.add_argument("--window", type=float, metavar="S", help="one answer per window of S s")
    parser.add_argument("--hop", type=float, metavar="S", help="a window every S s")
    parser.add_argument(
        "--speaker",
        nargs="+",
        metavar="FILE|FOLDER|GLOB",
        help="recordings of the voice, of any emotion, to get used to it first",
    )
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="FILE",
        help="keep what --speaker tells of the voice in this new file; without --speaker, use it",
    )
    arguments = parser.parse_args()
    if not arguments.paths and not (arguments.speaker and arguments.profile):
        parser.error("got no FILE, FOLDER or GLOB, want one, or both --speaker and --profile")
    window_s, hop_s = arguments.window, arguments.hop
    if window_s is not None:
        if not 0 < window_s < float("inf"):
            parser.error(f"--window: got {window_s:g}, want more than 0")
        hop_s = window_s if hop_s is None else hop_s
        if not 0 < hop_s <= window_s:
            parser.error(f"--hop: got {hop_s:g}, want more than 0, at most --window {window_s:g}")
    elif hop_s is not None:
        parser.error("--hop: got no --window, want both")
    # The name of a file may not be valid text.
    cast(io.TextIOWrapper, sys.stdout).reconfigure(errors="backslashreplace")
    model = load_model(arguments.model or default_model())
    speaker = _speaker(model, arguments.speaker, profile=arguments.profile)
    files = list(find_files(arguments.paths))
    answers = _answers(model, files, window_s=window_s, hop_s=hop_s, speaker=speaker)
    names = columns(model, over_time=window_s is not None)
    print(format_answers(answers, form=arguments.format, names=names))
    sys.exit(any("error" in answer for answer in answers))


def _speaker(
    model: Model, recordings: Sequence[str] | None, *, profile: Path | None
) -> Speaker | None:
    """Learn a voice from recordings, and keep it if a profile is named, or read the profile."""
    if recordings is None:
        return Profile.load(profile, model=model).speaker(model) if profile else None
    files = find_files(recordings)
    learnt, messages = enrol(model, ((path, path, fault) for path, fault in files))
    if profile:
        learnt.save(profile)
    heard = f"calibrated to a voice with {learnt.clips:g} recordings or windows"
    print(*messages, heard, sep="\n", file=sys.stderr)
    return learnt.speaker(model)


def _answers(
    model: Model,
    files: Sequence[tuple[str, str]],
    *,
    window_s: float | None,
    hop_s: float | None,
    speaker: Speaker | None,
) -> list[dict]:
    """Process several files at a time and return the answers in the order of the files."""
    process = partial(predict, model, window_s=window_s, hop_s=hop_s, speaker=speaker)

    def answer(file: tuple[str, str]) -> list[dict]:
        path, error = file
        return [{"file": path, "error": error}] if error else process(path)

    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        found = tqdm(pool.map(answer, files), total=len(files), unit="file", disable=None)
        return [row for rows in found for row in rows]
    finally:
        pool.shutdown(cancel_futures=True)  # if interrupted, no further file is read


if __name__ == "__main__":
    run_command(main)
