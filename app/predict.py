"""The emotion of audio files, from the network that was trained on every fold.

python -m app.predict FILE|FOLDER ... [--model PATH] [--format table|json|csv]

Reads any format that libsndfile reads, any rate, any number of channels, any length. Files of more
than ten seconds are cut into equal windows, whose probabilities are averaged; silent windows do not
count. What cannot be used gets the reason in place of an emotion; the rest is answered, and the
exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

from stages.clips.audio import FULL_SCALE, read_windows
from stages.clips.files import audio_files
from stages.learning.recogniser import Recogniser, load_recogniser

MODEL = Path("models/folds/fold_all-seed_0.pt")
_WINDOW_S = 10


def find_files(paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The files named, and those below the folders named.

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
        else:
            yield path, ""


@torch.inference_mode()
def predict(recogniser: Recogniser, file: str | Path, *, audio: dict) -> dict:
    """Answer for one file.

    Parameters
    ----------
    recogniser : Recogniser
    file : path
    audio : dict
        settings of stages.clips.audio.read_windows: those of training

    Returns
    -------
    dict
        file, emotion, probability of each label by p_<label>; or file and error
    """
    sums, samples = torch.zeros(len(recogniser.labels), dtype=torch.float64), 0
    try:
        for window in read_windows(file, window_s=_WINDOW_S, **audio):
            waveform = torch.from_numpy(window).float()[None] / FULL_SCALE
            sums += len(window) * recogniser(waveform)[0].double().softmax(dim=0)
            samples += len(window)
    except ValueError as error:
        return {"file": str(file), "error": str(error)}
    named = dict(zip(recogniser.labels, (sums / samples).tolist(), strict=True))
    answer = {"file": str(file), "emotion": max(named, key=named.get)}
    return answer | {f"p_{label}": round(value, 6) for label, value in named.items()}


def render(answers: list[dict], *, form: str, labels: Sequence[str]) -> str:
    """The answers as a table to read, as JSON or as CSV; the columns depend on the labels alone."""
    if form == "json":
        return json.dumps(answers, indent=2)
    columns = ["file", "emotion", *(f"p_{label}" for label in labels), "error"]
    # A file's name may be no text, which columns of text do not hold wherever pandas uses pyarrow.
    texts = [
        {k: v.encode(errors="backslashreplace").decode() if isinstance(v, str) else v for k, v in a}
        for a in map(dict.items, answers)
    ]
    table = pd.DataFrame(texts, columns=columns)
    if form == "csv":
        return table.to_csv(index=False).rstrip("\n")
    table = table.dropna(axis="columns", how="all").rename(columns=lambda c: c.removeprefix("p_"))
    return table.to_string(index=False, na_rep="", float_format="{:.2f}".format)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", metavar="FILE|FOLDER")
    parser.add_argument("--model", type=Path, default=MODEL, help=f"default: {MODEL}")
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no text
    try:
        recogniser, audio = load_recogniser(arguments.model)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
    try:
        answers = [
            {"file": path, "error": error} if error else predict(recogniser, path, audio=audio)
            for path, error in tqdm(list(find_files(arguments.paths)), disable=None)
        ]
    except ImportError as error:  # of an optional library, which was there when it was trained
        sys.exit(str(error))
    print(render(answers, form=arguments.format, labels=recogniser.labels))
    sys.exit(any("error" in answer for answer in answers))


if __name__ == "__main__":
    main()
