"""What a score costs: `studies.score` on many answers, against a loop over pandas and scikit-learn.

python -m benchmarks.scoring [--clips 100000] [--speakers 500] [--draws 10]

The clips, their folds and the answers are made up. CPU seconds of one thread: the command writes
the whole report, with an interval by one replicate for each speaker at every figure; the loop reads
the same answers and computes UA with one interval, by as many draws of speakers. Draws after
--draws are taken to cost the same. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import balanced_accuracy_score

from benchmarks.processes import run, write_params
from stages.clips.clip_table import COLUMNS, write_clips
from stages.running.entry import run_command

LABELS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")


def made_up(folder: Path, *, clips: int, speakers: int) -> None:
    """Write a clip table, its split, and answers that are right more often than not."""
    write_params(
        folder, "labels=seven", "split.validation=0", corpora=folder, names=["table"], model="svm"
    )
    rng = np.random.default_rng(0)
    truth, voice = rng.integers(len(LABELS), size=clips), np.arange(clips) % speakers
    facts = {column: "" if kind == "str" else 1 for column, kind in COLUMNS.items()}
    names = [f"{number:04}/{clip:07}" for clip, number in enumerate(voice)]
    table = pd.DataFrame(facts | {"clip": [f"table/{name}" for name in names]})
    table = table.assign(
        source=table["clip"],
        variant="clean",
        corpus="table",
        file=[f"{name}.wav" for name in names],
        speaker=[f"table/{number:04}" for number in voice],
        sex=np.array(["female", "male"])[voice % 2],
        emotion=np.array(LABELS)[truth],
        sha256=[hashlib.sha256(name.encode()).hexdigest() for name in names],
    )
    write_clips(table, folder / "data/merged/clips.csv")
    run(["-m", "stages.split"], folder=folder)
    shares = rng.dirichlet(np.ones(len(LABELS)), size=clips)
    shares[np.arange(clips), truth] += rng.random(clips)
    shares /= shares.sum(axis=1, keepdims=True)
    answers = pd.DataFrame(shares.round(4), columns=[f"p_{label}" for label in LABELS])
    answers.insert(0, "file", table["file"])
    answers.to_csv(folder / "answers.csv", index=False)


def loop(folder: Path, *, draws: int) -> tuple[float, float]:
    """CPU seconds to read the tables and compute UA, and to compute it of one draw of speakers."""
    begun = time.process_time()
    answers = pd.read_csv(folder / "answers.csv")
    clips = pd.read_csv(folder / "data/merged/clips.csv")
    table = clips.merge(answers, on="file")
    table["answer"] = table[[f"p_{label}" for label in LABELS]].idxmax(axis=1).str[2:]
    balanced_accuracy_score(table["emotion"], table["answer"])
    read_s = time.process_time() - begun
    begun = time.process_time()
    rng = np.random.default_rng(0)
    parts = dict(list(table[["speaker", "emotion", "answer"]].groupby("speaker")))
    for _ in range(draws):
        drawn = pd.concat([parts[name] for name in rng.choice(list(parts), len(parts))])
        balanced_accuracy_score(drawn["emotion"], drawn["answer"])
    return read_s, (time.process_time() - begun) / draws


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--speakers", type=int, default=500)
    parser.add_argument("--draws", type=int, default=10, help="of the loop; each costs the same")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        made_up(folder, clips=wanted.clips, speakers=wanted.speakers)
        cost = run(["-m", "studies.score", "answers.csv", "--workspace"], folder=folder)
        read_s, draw_s = loop(folder, draws=wanted.draws)
    loop_s = read_s + wanted.speakers * draw_s
    print(f"{wanted.clips} clips, {wanted.speakers} speakers; CPU seconds, peak MB")
    print(f"studies.score {cost.cpu_s:10.1f} {cost.peak_mb:8.0f}")
    print(f"loop {loop_s:19.1f} ({loop_s / cost.cpu_s:.1f} times)")
    figures = {"cpu_s": cost.cpu_s, "peak_mb": cost.peak_mb, "loop_times": loop_s / cost.cpu_s}
    print(json.dumps({key: round(value, 2) for key, value in figures.items()}))


if __name__ == "__main__":
    run_command(main)
