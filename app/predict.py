"""The emotion of audio files: one answer per file, or one per window of time.

python -m app.predict FILE|FOLDER|GLOB ... [--format table|json|csv] [--window 3 --hop 1]

Reads any format that libsndfile reads, any rate, any number of channels, any length. Files of more
than ten seconds are cut into equal windows, whose probabilities are averaged; silent windows do not
count. With --window, each window has an answer of its own, none where it is silent. What cannot be
used gets the reason in place of an emotion; the rest is answered, and the exit code is 1.
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

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate
from tqdm import tqdm

from app.models import MODEL, Model, load_model
from app.windows import read_windows
from stages.sources.files import audio_files

#: Longest window whose probabilities are averaged, in seconds.
WINDOW_S = 10


def find_files(paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The files named, those below the folders named, and those that match a pattern.

    Yields
    ------
    (path, error)
        of a file, with ""; or of what was named, with the reason why there is no file in it
    """
    for path in paths:
        if not path:
            yield path, "empty path, want a file or a folder"
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
    model: Model, file: str | Path, *, window_s: float | None = None, hop_s: float | None = None
) -> list[dict]:
    """Answer for one file.

    Parameters
    ----------
    model : Model
    file : path
    window_s, hop_s : float or None
        answer for each window of that length, beginning every hop_s; or for the file as a whole

    Returns
    -------
    list of dict
        file, emotion, probability of each label by p_<label>, for windows also start_s and end_s,
        and None for the emotion of a silent one; or only file and error
    """
    try:
        if window_s is None:
            windows = read_windows(file, window_s=WINDOW_S, **model.audio)
            probabilities = model.mean(window.samples for window in windows)
            return [{"file": str(file), **named(model, probabilities)}]
        return [
            {
                "file": str(file),
                "start_s": round(window.start_s, 3),
                "end_s": round(window.end_s, 3),
                **named(model, model.mean([window.samples])),
            }
            for window in read_windows(file, window_s=window_s, hop_s=hop_s, **model.audio)
        ]
    except ValueError as error:
        return [{"file": str(file), "error": str(error)}]


def named(model: Model, probabilities: NDArray[np.float64] | None) -> dict:
    """The most probable label as `emotion`, and each label's probability as p_<label>."""
    if probabilities is None:
        return {"emotion": None}
    values = dict(zip(model.labels, probabilities.tolist(), strict=True))
    rounded = {f"p_{label}": round(value, 6) for label, value in values.items()}
    return {"emotion": max(values, key=values.get), **rounded}


def columns(model: Model, *, over_time: bool) -> list[str]:
    """Names of what `predict` answers, whatever the files are like."""
    times = ["start_s", "end_s"] if over_time else []
    return ["file", *times, "emotion", *(f"p_{label}" for label in model.labels), "error"]


def render(answers: Sequence[dict], *, form: str, names: Sequence[str]) -> str:
    """Answers as a table to read, as JSON, or as CSV with those columns."""
    if form == "json":
        return json.dumps(answers, indent=2)
    if form == "csv":
        stream = io.StringIO()
        writer = csv.DictWriter(stream, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(answers)
        return stream.getvalue().rstrip("\n")
    kept = [name for name in names if any(answer.get(name) is not None for answer in answers)]
    rows = [[_cell(answer.get(name)) for name in kept] for answer in answers]
    heads = [name.removeprefix("p_") for name in kept]
    numbers = ["right" if name.startswith(("p_", "start", "end")) else "left" for name in kept]
    return tabulate(rows, heads, "plain", disable_numparse=True, colalign=numbers if rows else None)


def _cell(value: str | float | None) -> str:
    return f"{value:.2f}" if isinstance(value, float) else value or ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", metavar="FILE|FOLDER|GLOB")
    parser.add_argument("--model", type=Path, default=MODEL, help=f"default: {MODEL}")
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table")
    parser.add_argument("--window", type=float, metavar="S", help="answer for every window of S s")
    parser.add_argument("--hop", type=float, metavar="S", help="... that begins every S s")
    arguments = parser.parse_args()
    window_s, hop_s = arguments.window, arguments.hop
    if window_s is not None:
        hop_s = window_s if hop_s is None else hop_s
        if not 0 < hop_s <= window_s < float("inf"):
            parser.error(f"--hop: got {hop_s:g}, want over 0 and at most --window, {window_s:g}")
    elif hop_s is not None:
        parser.error("--hop: want --window as well")
    sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no text
    try:
        model = load_model(arguments.model)
        answers = _answers(model, list(find_files(arguments.paths)), window_s=window_s, hop_s=hop_s)
    except (FileNotFoundError, ValueError, ImportError) as error:
        # The last: of an optional library, which was there when the model was trained.
        sys.exit(str(error))
    names = columns(model, over_time=window_s is not None)
    print(render(answers, form=arguments.format, names=names))
    sys.exit(any("error" in answer for answer in answers))


def _answers(
    model: Model, files: Sequence[tuple[str, str]], *, window_s: float | None, hop_s: float | None
) -> list[dict]:
    """Answers in the order of the files, several of which are read at a time."""
    answer = partial(predict, model, window_s=window_s, hop_s=hop_s)

    def one(file: tuple[str, str]) -> list[dict]:
        path, error = file
        return [{"file": path, "error": error}] if error else answer(path)

    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        found = tqdm(pool.map(one, files), total=len(files), unit="file", disable=None)
        return [row for rows in found for row in rows]
    finally:
        pool.shutdown(cancel_futures=True)  # if interrupted: no further file


if __name__ == "__main__":
    main()
