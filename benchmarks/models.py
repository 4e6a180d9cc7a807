"""What each model is worth, and what it costs: one row per experiment, and a figure.

python -m benchmarks.models EXPERIMENT [EXPERIMENT ...]

Experiments are named as in `dvc exp show`; they must have been tested on the same clips, labels and
folds. Writes reports/models.csv, .png and .svg: UA with its 95 % interval, parameters, size of one
checkpoint, and CPU seconds of one thread per epoch over all clips, measured here on random features
of the same size (of a classical model: seconds of its fit). Prints the table.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from stages.audio.frames import first_frames
from stages.learning.batches import ClipData
from stages.learning.checkpoints import build_network
from stages.learning.learner import build_learner
from stages.reporting.drawing import (
    MAIN,
    REFERENCE,
    encode,
    label_right,
    new_figure,
    set_title,
    style,
)
from stages.running.entry import run_command
from stages.running.outputs import complete
from studies.compare import read_file, read_results
from studies.comparison import check_comparable, describe_result

OUTPUT = Path("reports/models")
_CONSTANT = "stages.learning.schedules.Constant"
_EPOCHS = 2  # that are timed, after one to warm up


def made_up_data(experiment: str, checkpoint: dict[str, Any], *, labels: pd.Series) -> ClipData:
    """Random features of the size of an experiment's clips."""
    table = pd.read_csv(io.BytesIO(read_file(experiment, "data/merged/clips.csv")))
    frames = table.set_index("clip").loc[labels.index, "frames"].to_numpy()
    random = np.random.default_rng(0)
    caches = {
        name: random.standard_normal((frames.sum(), size), np.float32).astype(np.float16)
        for name, size in checkpoint["inputs"].items()
    }
    names = checkpoint["labels"]
    return ClipData(
        caches=caches,
        first=first_frames(frames),
        frames=frames,
        labels=labels.map(names.index).to_numpy(),
        n_classes=len(names),
        names=labels.index.tolist(),
    )


def epoch_s(checkpoint: dict[str, Any], data: ClipData) -> float:
    """CPU seconds of a training epoch over all clips, or of a classical model's fit."""
    build_learner(checkpoint)  # which names a setting of a form that is no longer read
    # None of these settings changes the time; they need validation clips or other weights.
    absent = {"patience": None, "schedule": {"_target_": _CONSTANT}, "warm_start": None}
    train = checkpoint["train"] | {"epochs": 1 + _EPOCHS} | absent
    learner = build_learner({"model": checkpoint["model"], "train": train})
    everything = np.arange(len(data.labels))
    ticks: list[float] = [time.process_time()]
    with tempfile.TemporaryDirectory() as scratch:
        learner.fit(
            data,
            train=everything,
            validation=everything[:0],
            seed=0,
            logs=Path(scratch),
            on_epoch=lambda: ticks.append(time.process_time()),
        )
    return min(np.diff(ticks)[-_EPOCHS:])


def parameters(checkpoint: dict[str, Any]) -> int:
    """Count the parameters of a network, or all numbers that a classical model has learnt."""
    network, state = build_network(checkpoint), checkpoint["state"]
    if network is None:
        return sum(values.numel() for values in state.values() if values.is_floating_point())
    return sum(parameter.numel() for parameter in network.parameters())


def models_figure(
    models: pd.DataFrame, *, heading: str, chance: float, notes: Sequence[str]
) -> Figure:
    """Draw the UA of each model with its interval, and write its costs beside it.

    Parameters
    ----------
    models : DataFrame
        experiment, ua, ua_low, ua_high, parameters, checkpoint_mb, epoch_s
    heading : str
    chance : float
        chance level, drawn as a line
    notes : list of str
        lines below the title
    """
    figure, axes = new_figure(7.5, 1.7 + 0.3 * len(models))
    places = np.arange(len(models))
    axes.hlines(places, models["ua_low"], models["ua_high"], color=MAIN, linewidth=1.6)
    axes.scatter(models["ua"], places, color=MAIN, s=36, zorder=3)
    axes.axvline(chance, color=REFERENCE, linestyle=":", label=f"chance {chance:.3f}")
    axes.set_yticks(places, models["experiment"])
    axes.set_ylim(len(models) - 0.4, -1.0)
    axes.set_xlim(0, 1)
    axes.set_xlabel("UA, unweighted accuracy (0 to 1), with 95 % interval")
    axes.grid(visible=False, axis="y")
    texts = [
        f"{row.ua:.3f}  {row.parameters:>9,}  {row.checkpoint_mb:5.2f} MB  {row.epoch_s:6.2f} s"
        for row in models.itertuples()
    ]
    label_right(axes, [-0.8, *places], ["UA, parameters, file, epoch", *texts])
    figure.legend(loc="outside lower right")
    set_title(axes, heading, notes)
    return figure


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="+", metavar="EXPERIMENT")
    names = parser.parse_args().experiments
    torch.set_num_threads(1)
    rows = []
    experiments = read_results(names)
    check_comparable(experiments)
    for name, experiment in zip(names, experiments, strict=True):
        content = read_file(name, f"models/folds/fold_all-seed_{experiment.seeds[0]}.pt")
        checkpoint = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        clips = experiment.predictions.clips.drop_duplicates("clip")
        data = made_up_data(name, checkpoint, labels=clips.set_index("clip")["label"])
        costs = {
            "parameters": parameters(checkpoint),
            "checkpoint_mb": len(content) / 1e6,
            "epoch_s": epoch_s(checkpoint, data),
        }
        rows.append(describe_result(experiment) | costs)
    first = experiments[0]
    table = pd.DataFrame(rows).assign(protocol=first.protocol)
    table = table.sort_values("ua", ascending=False, kind="stable")
    corpora = ", ".join(sorted(set(first.predictions.clips["corpus"])))
    title = first.settings["split"].get("title", first.protocol)
    with style():
        figure = models_figure(
            table,
            heading=f"Models: {corpora}, {title}",
            chance=1 / len(first.predictions.labels),
            notes=first.notes,
        )
        files = {kind: encode(figure, kind) for kind in ("png", "svg")}
    files["csv"] = table.to_csv(index=False, lineterminator="\n", float_format="%.6g").encode()
    for kind, content in files.items():
        with complete(OUTPUT.with_suffix(f".{kind}")) as part:
            part.write_bytes(content)
    shown = ["experiment", "ua", "ua_low", "ua_high", "parameters", "checkpoint_mb", "epoch_s"]
    print(table[shown].round(3).to_string(index=False))


if __name__ == "__main__":
    run_command(main)
