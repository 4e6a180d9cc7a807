"""What training costs beyond the network: against batches in memory, and against a DataLoader.

python -m benchmarks.training --corpora DIR [--names emodb]

Per epoch, in CPU seconds of one thread: the pipeline's own epoch (batches cut out of the caches,
augmentation, averaged weights), and a floor that does nothing but forward, backward and step on the
same batches, which lie in memory. Beside it, in seconds of the clock: the usual
DataLoader over one .npy per clip and feature with two workers, and two jobs side by side against
one after the other. No clip validates. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import joblib
import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.processes import run, write_params
from stages.audio.frames import first_frames
from stages.clips.clip_table import read_clips
from stages.clips.feature_files import open_caches
from stages.learning.batches import Batch, ClipData, TrainingBatches
from stages.learning.checkpoints import SECTIONS, Job
from stages.learning.jobs import run_jobs
from stages.learning.learner import build_learner
from stages.learning.training_plan import Plan, make_plan
from stages.running.entry import run_command
from stages.settings.loading import bind
from stages.splits.labels import label_order
from stages.splits.split_table import read_split

MODELS = ("cnn_gru", "gru")
_EPOCHS = 3  # that are timed, after one to warm up
_ROUNDS = 3


def prepare(folder: Path, *, corpora: Path, names: Sequence[str]) -> dict[str, DictConfig]:
    """Make caches and split of some corpora; parameters by model."""
    params = {}
    made: set[str] = set()
    for model in MODELS:
        write_params(folder, corpora=corpora, names=names, model=model)
        params[model] = OmegaConf.load(folder / "params.yaml")
        if not made:
            for command in (*(["prepare", name] for name in names), ["merge"], ["split"]):
                run(["-m", f"stages.{command[0]}", *command[1:]], folder=folder)
        for name in set(params[model].features) - made:
            run(["-m", "stages.features", name], folder=folder)
            made.add(name)
    return params


def open_data(folder: Path, features: Iterable[str]) -> ClipData:
    """The labelled clips and their caches."""
    clips, split = (
        read_clips(folder / "data/merged/clips.csv"),
        read_split(folder / "data/split.csv"),
    )
    caches = open_caches(
        folder / "data/features", names=list(features), frames=int(clips["frames"].sum())
    )
    clips = clips.assign(first=first_frames(clips["frames"].to_numpy()))
    clips = split[["clip", "label"]].merge(clips, on="clip")
    labels = sorted(set(clips["label"]))
    return ClipData(
        caches=caches,
        first=clips["first"].to_numpy(),
        frames=clips["frames"].to_numpy(),
        labels=clips["label"].map(labels.index).to_numpy(),
        n_classes=len(labels),
    )


def pipeline_epochs(params: DictConfig, data: ClipData, *, clock: Callable[[], float]) -> list:
    """Seconds of each epoch of the pipeline's own training, without the first."""
    ticks = []
    epochs = {"epochs": 1 + _EPOCHS, "patience": None}
    learner = build_learner(OmegaConf.merge(params, {"train": epochs}))
    everything = np.arange(len(data.labels))
    with tempfile.TemporaryDirectory() as scratch:
        learner.fit(
            data,
            train=everything,
            validation=everything[:0],
            seed=0,
            logs=Path(scratch),
            on_epoch=lambda: ticks.append(clock()),
        )
    return np.diff(ticks).tolist()


def floor_epochs(params: DictConfig, data: ClipData, batches: Sequence[Batch]) -> list[float]:
    """CPU seconds of each pass over batches in memory, without the first."""
    everything = np.arange(len(data.labels))
    network = bind(params.model.network, "networks")(data.inputs, data.n_classes)
    network.input.fit(data.statistics(everything))
    ticks = []
    for _ in range(1 + _EPOCHS):
        optimiser = torch.optim.AdamW(network.parameters(), foreach=True)  # as in the pipeline
        one_epoch(network, batches, optimiser=optimiser)
        ticks.append(time.process_time())
    return np.diff(ticks).tolist()


def one_epoch(
    network: nn.Module, batches: Iterable[Batch], *, optimiser: torch.optim.Optimizer
) -> None:
    """Forward, backward and step on every batch, and nothing else."""
    network.train()
    for batch in batches:
        optimiser.zero_grad()
        logits = network(batch.features, batch.lengths)
        nn.functional.cross_entropy(logits, batch.labels).backward()
        optimiser.step()


class Files(Dataset):
    """The usual data set: a file per clip and feature, cut or padded to one length."""

    def __init__(self, folder: Path, data: ClipData, *, crop: int) -> None:
        self._folder, self._data, self._crop = folder, data, crop
        for name, cache in data.caches.items():
            for clip, (first, frames) in enumerate(zip(data.first, data.frames, strict=True)):
                np.save(folder / f"{clip}-{name}.npy", cache[first : first + frames])

    def __len__(self) -> int:
        return len(self._data.labels)

    def __getitem__(self, clip: int) -> tuple[dict[str, Tensor], int, int]:
        frames = int(self._data.frames[clip])
        used = min(frames, self._crop)
        begin = np.random.default_rng().integers(frames - used + 1)
        features = {}
        for name, size in self._data.inputs.items():
            values = torch.zeros(self._crop, size)
            rows = np.load(self._folder / f"{clip}-{name}.npy")[begin : begin + used]
            values[:used] = torch.from_numpy(rows.astype(np.float32))
            features[name] = values
        return features, used, int(self._data.labels[clip])


def loader_epochs(params: DictConfig, data: ClipData, *, folder: Path, crop: int) -> list[float]:
    """Seconds of each epoch over a DataLoader with two workers, without the first."""
    loader = DataLoader(
        Files(folder, data, crop=crop),
        batch_size=params.train.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=2,
        persistent_workers=True,
    )
    network = bind(params.model.network, "networks")(data.inputs, data.n_classes)
    network.input.fit(data.statistics(np.arange(len(data.labels))))
    optimiser = torch.optim.AdamW(network.parameters())
    ticks = []
    for _ in range(1 + _EPOCHS):
        batches = (Batch(f, lengths, labels, labels) for f, lengths, labels in loader)
        one_epoch(network, batches, optimiser=optimiser)
        ticks.append(time.perf_counter())
    return np.diff(ticks).tolist()


def jobs_s(folder: Path, params: DictConfig) -> tuple[float, float]:
    """Seconds that two jobs take one after the other, and side by side, with their start."""
    seconds = []
    for number, together in enumerate((False, True)):
        plan = _plan(folder, params, scratch=folder / f"scratch-{number}")
        jobs = [Job("0", 0), Job("1", 0)]
        begun = time.perf_counter()
        for some in [jobs] if together else [jobs[:1], jobs[1:]]:
            run_jobs(some, plan)
        seconds.append(time.perf_counter() - begun)
    return seconds[0], seconds[1]


def _plan(folder: Path, params: DictConfig, *, scratch: Path) -> Plan:
    split = read_split(folder / "data/split.csv")
    settings = OmegaConf.masked_copy(params, list(SECTIONS))
    OmegaConf.update(settings, "train.epochs", 2 * _EPOCHS)
    return make_plan(
        read_clips(folder / "data/merged/clips.csv"),
        split,
        labels=label_order(params.labels.map, split["label"]),
        caches=folder / "data/features",
        scratch=scratch,
        logs=scratch,
        settings=OmegaConf.to_container(settings, resolve=True),
    )


def over_floor(params: DictConfig, data: ClipData, *, crop: int) -> tuple[float, float]:
    """CPU seconds of an epoch of the pipeline, and of the floor."""
    batches = TrainingBatches(
        data,
        np.arange(len(data.labels)),
        size=params.train.batch_size,
        crop=crop,
        speed=params.train.augment.speed,
        seed=0,
    )
    batches = list(batches)
    epochs, floor = [], []
    for _ in range(_ROUNDS):  # by turns, so that a slow minute of the machine hits both
        floor += floor_epochs(params, data, batches)
        epochs += pipeline_epochs(params, data, clock=time.process_time)
    return min(epochs), min(floor)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", required=True, help="folder of all corpora")
    parser.add_argument("--names", nargs="+", default=["emodb"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, float] = {"cores": joblib.cpu_count()}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        params = prepare(folder, corpora=Path(arguments.corpora).resolve(), names=arguments.names)
        print(
            f"{'s per epoch':12} {'cpu':>8} {'floor':>8} {'ratio':>8} "
            f"{'clock':>8} {'loader':>8} {'ratio':>8}"
        )
        for model, settings in params.items():
            data, audio = open_data(folder, settings.features), settings.audio
            crop = round(settings.train.crop_s * audio.sample_rate / audio.hop_length)
            cpu_s, floor_s = over_floor(settings, data, crop=crop)
            (folder / model).mkdir()
            loader_s = min(loader_epochs(settings, data, folder=folder / model, crop=crop))
            clock_s = min(pipeline_epochs(settings, data, clock=time.perf_counter))
            print(
                f"{model:12} {cpu_s:8.2f} {floor_s:8.2f} {cpu_s / floor_s:8.2f} "
                f"{clock_s:8.2f} {loader_s:8.2f} {loader_s / clock_s:8.2f}",
                flush=True,
            )
            figures[f"{model}_epoch_s"] = round(cpu_s, 3)
            figures[f"{model}_over_floor"] = round(cpu_s / floor_s, 3)
            figures[f"{model}_dataloader_times"] = round(loader_s / clock_s, 2)
        apart_s, together_s = jobs_s(folder, params[MODELS[0]])
        print(f"two jobs: {apart_s:.1f} s one after the other, {together_s:.1f} s side by side")
    figures["dataloader_times"] = figures[f"{MODELS[0]}_dataloader_times"]
    figures["jobs_speedup"] = round(apart_s / together_s, 2)
    figures["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps(figures))


if __name__ == "__main__":
    run_command(main)
