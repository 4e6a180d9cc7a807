"""The emotion of audio files, from the network that was trained on every fold.

python -m app.predict FILE|FOLDER ... [--model PATH] [--format table|json|csv]

Reads any format that libsndfile reads, any rate, any number of channels. Files of more than ten
seconds are cut into equal windows, whose probabilities are averaged. A file that cannot be used
gets the reason in place of an emotion; the others are answered, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

from stages.clips.audio import FULL_SCALE, read_files
from stages.clips.files import audio_files
from stages.learning.recogniser import Recogniser, load_recogniser

MODEL = Path("models/folds/fold_all-seed_0.pt")
_WINDOW_S = 10


def find_files(paths: Sequence[Path]) -> Iterator[Path]:
    """The files named, and those below the folders named; a folder without audio is an error."""
    for path in paths:
        if path.is_dir():
            yield from (path / file for file in audio_files(path))
        else:
            yield path


@torch.inference_mode()
def predict(recogniser: Recogniser, file: Path, *, audio: dict) -> dict:
    """Answer for one file.

    Parameters
    ----------
    recogniser : Recogniser
    file : Path
    audio : dict
        settings of stages.clips.audio.condition: those of training

    Returns
    -------
    dict
        file, emotion, probability of each label by p_<label>; or file and error
    """
    ((facts, samples),) = read_files(Path(), [str(file)], audio)
    if facts["excluded"]:
        return {"file": str(file), "error": facts["excluded"]}
    waveform = torch.from_numpy(samples).float() / FULL_SCALE
    windows = waveform.tensor_split(-(-len(waveform) // (_WINDOW_S * recogniser.sample_rate)))
    probabilities = torch.stack([recogniser(window[None])[0].softmax(dim=0) for window in windows])
    mean = probabilities.mean(dim=0).tolist()
    named = dict(zip(recogniser.labels, mean, strict=True))
    answer = {"file": str(file), "emotion": max(named, key=named.get)}
    return answer | {f"p_{label}": round(value, 6) for label, value in named.items()}


def render(answers: list[dict], *, form: str) -> str:
    """The answers as a table to read, as JSON or as CSV."""
    if form == "json":
        return json.dumps(answers, indent=2)
    table = pd.DataFrame(answers)
    if form == "csv":
        return table.to_csv(index=False).rstrip("\n")
    table = table.rename(columns=lambda name: name.removeprefix("p_"))
    return table.to_string(index=False, na_rep="", float_format="{:.2f}".format)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE|FOLDER")
    parser.add_argument("--model", type=Path, default=MODEL, help=f"default: {MODEL}")
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        recogniser, audio = load_recogniser(arguments.model)
        files = list(find_files(arguments.paths))
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
    answers = [predict(recogniser, file, audio=audio) for file in tqdm(files, disable=None)]
    print(render(answers, form=arguments.format))
    sys.exit(any("error" in answer for answer in answers))


if __name__ == "__main__":
    main()
