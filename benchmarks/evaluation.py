"""Cost of the stage `evaluate` on made-up predictions, against a usual script.

python -m benchmarks.evaluation [--clips 5000 100000] [--keep DIR]

The script reads the same predictions, resamples speakers 200 times for the interval of the UA with
scikit-learn, and draws a confusion matrix and a ROC curve per label. The last line is a JSON
object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.processes import HEADING, run, write_params
from stages.clips.clip_table import write_clips
from stages.learning.checkpoints import Job
from stages.reporting.degradation_table import COLUMNS
from stages.running.entry import run_command
from stages.settings.loading import bind, plain

_LABELS = ["angry", "calm", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
_SPEAKERS, _FOLDS, _EPOCHS = 24, 6, 50
_FRAMES, _HOP, _DIMENSIONS = 126, 256, 40
_SCRIPT = """
import matplotlib.pyplot as plt, numpy as np, pandas as pd
from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay, balanced_accuracy_score
from sklearn.metrics import classification_report
table = pd.read_csv("data/predictions.csv")
labels = [name[2:] for name in table if name.startswith("p_")]
shares = table[[f"p_{label}" for label in labels]].to_numpy()
truth, answers = table["label"].to_numpy(), np.array(labels)[shares.argmax(1)]
print(classification_report(truth, answers))
rows = list(table.groupby("speaker").indices.values())
rng, figures = np.random.default_rng(0), []
for _ in range(200):
    drawn = np.concatenate([rows[i] for i in rng.integers(len(rows), size=len(rows))])
    figures.append(balanced_accuracy_score(truth[drawn], answers[drawn]))
print(np.percentile(figures, (2.5, 97.5)))
ConfusionMatrixDisplay.from_predictions(truth, answers, normalize="true")
plt.savefig("confusion.png", dpi=200)
_, axes = plt.subplots()
for number, label in enumerate(labels):
    RocCurveDisplay.from_predictions(truth == label, shares[:, number], name=label, ax=axes)
plt.savefig("roc.png", dpi=200)
"""


def write_run(folder: Path, *, number: int) -> None:
    """Write all that `evaluate` reads: so many clips, and networks that were never trained."""
    params = write_params(folder, corpora=folder, names=["ravdess"], model="gru")
    for name in ("data/merged", "data/features", "models/folds", "reports"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    clips = _clips(number)
    write_clips(clips, folder / "data/merged/clips.csv")
    rng = np.random.default_rng(0)
    samples = rng.integers(-9999, 9999, _FRAMES * _HOP).astype(np.int16)
    np.save(folder / "data/merged/audio.npy", samples)
    shape = (int(clips["frames"].sum()), _DIMENSIONS)
    cache = np.lib.format.open_memmap(
        folder / "data/features/mfcc.npy", "w+", dtype=np.float16, shape=shape
    )
    block = rng.normal(size=(10_000, _DIMENSIONS)).astype(np.float16)
    for first in range(0, len(cache), len(block)):
        cache[first : first + len(block)] = block[: len(cache) - first]
    held_out = _predictions(clips, rng=rng)
    held_out.to_csv(folder / "data/predictions.csv", index=False)
    later = held_out.assign(fold=(held_out["fold"] + 1) % _FOLDS)
    later.to_csv(folder / "data/validation.csv", index=False)
    _write_facts(folder, held_out)
    network = bind(params.model.network, "networks")
    for fold in range(_FOLDS):
        torch.manual_seed(fold)
        inputs = {"mfcc": _DIMENSIONS}
        state = network(inputs, len(_LABELS)).state_dict()
        settings = plain(params.model)
        checkpoint = {"model": settings, "labels": _LABELS, "inputs": inputs, "state": state}
        torch.save(checkpoint, folder / f"models/folds/{Job(str(fold), 0).name}.pt")


def _clips(number: int) -> pd.DataFrame:
    each = np.arange(number)
    clips = pd.DataFrame({"clip": [f"ravdess/{i:06}" for i in each]})
    clips["emotion"] = np.array(_LABELS)[each % len(_LABELS)]
    clips["speaker"] = [f"ravdess/{i // len(_LABELS) % _SPEAKERS:02}" for i in each]
    clips["sex"] = np.where(each // len(_LABELS) % 2, "female", "male")
    return clips.assign(
        source=clips["clip"],
        variant="clean",
        corpus="ravdess",
        file=clips["clip"] + ".wav",
        age="",
        language="en",
        intensity=np.where(each % 3, "normal", "strong"),
        sentence=[f"ravdess/{i % 2}" for i in each],
        take=[str(1 + i % 4) for i in each],
        corpus_fold="",
        channels=1,
        rate_hz=16000,
        duration_s=_FRAMES * _HOP / 16000,
        level_db=-20.0 - each % 9,
        sha256=[hashlib.sha256(clip.encode()).hexdigest() for clip in clips["clip"]],
        start=0,
        samples=(_FRAMES - 1) * _HOP,
        frames=_FRAMES,
        excluded="",
    )


def _predictions(clips: pd.DataFrame, *, rng: np.random.Generator) -> pd.DataFrame:
    table = clips[["clip", "corpus", "speaker", "sex"]].assign(label=clips["emotion"], seed=0)
    table["fold"] = table["speaker"].str[-2:].astype(int) % _FOLDS
    logits = rng.normal(size=(len(table), len(_LABELS)))
    logits[np.arange(len(table)), np.arange(len(table)) % len(_LABELS)] += 2
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    table[[f"p_{label}" for label in _LABELS]] = shares.round(7)
    return table


def _write_facts(folder: Path, held_out: pd.DataFrame) -> None:
    """Write what the other stages say of the run."""
    nothing = ("speakers", "sentences", "sources", "sha256")
    counts = held_out["fold"].value_counts().sort_index()
    folds = [
        {f"shared_{name}": 0 for name in nothing}
        | {"fold": str(fold), "test_clips": int(count), "validation_shares_speakers": False}
        | {"classes_missing_in_training": []}
        for fold, count in counts.items()
    ]
    leakage = {"protocol": "speaker", "speaker_dependent": False, "sentences_held_out": False}
    (folder / "reports/leakage.json").write_text(json.dumps(leakage | {"folds": folds}))
    pd.DataFrame(columns=COLUMNS).to_csv(folder / "reports/robustness.csv", index=False)
    epochs = pd.MultiIndex.from_product(
        [range(_FOLDS), [0], range(1, _EPOCHS + 1)], names=["fold", "seed", "epoch"]
    )
    history = epochs.to_frame(index=False)
    falling = 2 / np.sqrt(history["epoch"])
    history.assign(
        train_loss=falling, train_ua=1 - falling / 3, validation_loss=falling, validation_ua=0.5
    ).to_csv(folder / "reports/training.csv", index=False)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", nargs="+", type=int, default=[5000, 100_000])
    parser.add_argument("--keep", type=Path, help="folder that keeps the reports")
    arguments = parser.parse_args()
    print(HEADING)
    figures: dict[str, float] = {}
    for number in arguments.clips:
        with ExitStack() as stack:
            scratch = arguments.keep or stack.enter_context(tempfile.TemporaryDirectory())
            folder = Path(scratch).resolve() / str(number)
            folder.mkdir(parents=True, exist_ok=True)
            write_run(folder, number=number)
            (folder / "conf").unlink(missing_ok=True)
            (folder / "conf").symlink_to(Path(__file__).parents[1] / "conf")
            ours = run(["-m", "stages.evaluate"], folder=folder)
            usual = run(["-c", _SCRIPT], folder=folder)
            page_mb = (folder / "reports/index.html").stat().st_size / 1e6
        print(f"{f'evaluate, {number} clips':28} {ours}   page {page_mb:.1f} MB")
        print(f"{'script':28} {usual}", flush=True)
        figures |= {
            f"{number}_s": round(ours.seconds, 1),
            f"{number}_cpu_s": round(ours.cpu_s, 1),
            f"{number}_script_cpu_s": round(usual.cpu_s, 1),
            f"{number}_script_cpu_times": round(usual.cpu_s / ours.cpu_s, 2),
            f"{number}_peak_mb": round(ours.peak_mb),
            f"{number}_page_mb": round(page_mb, 2),
        }
    print(json.dumps(figures))


if __name__ == "__main__":
    run_command(main)
