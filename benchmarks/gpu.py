"""What training costs on a GPU, and what limits it: the folds of the last run.

python -m benchmarks.gpu [--epochs 4]

Of the model, clips and split of the last run, in seconds of the clock per epoch of one fold: a
floor that does nothing but forward, backward and step on batches that lie in the GPU's memory, and
how long the GPU computes in it; a job by itself; and as many jobs side by side as there are
processors, a process each. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from benchmarks.training import one_epoch, open_data
from stages.learning.batches import Batch, TrainingBatches
from stages.learning.learner import build_learner
from stages.parallel.workers import spread
from stages.running.entry import run_command
from stages.settings.loading import bind, load_params, processes
from stages.splits.split_table import folds_of, read_split


def job_ticks(fold: str, *, epochs: int) -> list[float]:
    """When each epoch of a fold's training ends, in seconds of one clock for all processes."""
    torch.set_num_threads(1)
    params = load_params()
    data = open_data(Path(), params.features)
    settings = {"train": {"epochs": epochs, "patience": None}}
    learner = build_learner(OmegaConf.merge(params, settings))
    part = read_split("data/split.csv")[fold].to_numpy()
    ticks: list[float] = []
    with tempfile.TemporaryDirectory() as logs:
        learner.fit(
            data,
            train=np.flatnonzero(part == "train"),
            validation=np.arange(0),
            seed=0,
            logs=Path(logs),
            on_epoch=lambda: ticks.append(time.perf_counter()),
        )
    return ticks


def floor_s(params: DictConfig, fold: str, *, epochs: int) -> tuple[float, float]:
    """Seconds of an epoch on batches in the GPU's memory, and how long the GPU computes in it."""
    device = torch.device("cuda")
    data = open_data(Path(), params.features)
    clips = np.flatnonzero(read_split("data/split.csv")[fold] == "train")
    audio, train = params.audio, params.train
    network = bind(params.model.network, "networks")(data.inputs, data.n_classes)
    network.input.fit(data.statistics(clips))
    network.to(device)
    batches = TrainingBatches(
        data,
        clips,
        size=train.batch_size,
        crop=round(train.crop_s * audio.sample_rate / audio.hop_length),
        speed=train.augment.speed,
        seed=0,
    )
    stay: list[Batch] = [batch.to(device) for batch in batches]
    optimiser = torch.optim.AdamW(network.parameters(), foreach=True)  # as in the pipeline
    ticks = []
    for _ in range(1 + epochs):
        one_epoch(network, stay, optimiser=optimiser)
        torch.cuda.synchronize()
        ticks.append(time.perf_counter())
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        one_epoch(network, stay, optimiser=optimiser)
        torch.cuda.synchronize()
    computes_us = sum(event.self_device_time_total for event in profile.key_averages())
    return float(np.median(np.diff(ticks))), computes_us / 1e6


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=4, help="that are timed, after one")
    epochs = parser.parse_args().epochs
    if not torch.cuda.is_available():
        raise ValueError("got no GPU that torch can use, want one")
    torch.set_num_threads(1)
    params = load_params()
    folds = folds_of(read_split("data/split.csv"))
    floor, computes = floor_s(params, folds[0], epochs=epochs)
    alone = float(np.median(np.diff(job_ticks(folds[0], epochs=1 + epochs))))
    number = processes(len(folds))
    side = list(
        spread(
            # Long enough that all have begun before the first ends.
            [partial(job_ticks, fold, epochs=5 * epochs) for fold in folds[:number]],
            processes=number,
            client=None,
        )
    )
    begin, end = max(times[0] for times in side), min(times[-1] for times in side)
    done = sum(begin < moment <= end for times in side for moment in times)
    if not done:
        print("no epoch ended while all jobs ran, want more --epochs", file=sys.stderr)
        return 1
    together = (end - begin) / done
    print(f"{torch.cuda.get_device_name()}; s per epoch of a fold:")
    for what, seconds in (
        ("the GPU computes", computes),
        ("floor", floor),
        ("a job alone", alone),
        (f"{number} jobs side by side, per job", together),
    ):
        print(f"{what:40} {seconds:8.3f}")
    figures = {
        "computes_s": computes,
        "floor_s": floor,
        "alone_s": alone,
        "together_s": together,
        "alone_over_floor": alone / floor,
        "jobs_speedup": alone / together,
    }
    print(json.dumps({name: round(float(value), 4) for name, value in figures.items()}))


if __name__ == "__main__":
    run_command(main)
