"""What all training jobs of a run share, and the key that names their finished results."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from stages.audio.frames import first_frames
from stages.clips.feature_files import open_caches
from stages.learning.batches import ClipData
from stages.running.code import code_key, reached


@dataclass(frozen=True)
class Plan:
    """What all jobs of a run share; it travels to worker processes, so it holds paths, not arrays.

    Attributes
    ----------
    clips : DataFrame
        the labelled clips: clip, speaker, first, frames, label and one column per fold
    labels : list of str
        those of the label set that occur, in its order
    frames : int
        rows of each feature cache
    caches, scratch, logs : Path
        folders
    settings : mapping
        stages.learning.checkpoints.SECTIONS of the parameters
    """

    clips: pd.DataFrame
    labels: list[str]
    frames: int
    caches: Path
    scratch: Path
    logs: Path
    settings: Mapping[str, Any]

    def enrolment(self, fold: str) -> np.ndarray:
        """Positions of the clips that tell how the held-out speakers of a fold usually sound."""
        number = (self.settings.get("calibration") or {}).get("clips")
        parts = ["test", "validation"] if number == "all" else ["enrolment"]
        return np.flatnonzero(self.clips[fold].isin(parts))

    def open_data(self) -> ClipData:
        """Open the feature caches.

        Raises
        ------
        ValueError
            naming a cache that does not hold the frames of the clip table
        """
        features = list(self.settings["features"])
        return ClipData(
            caches=open_caches(self.caches, names=features, frames=self.frames),
            first=self.clips["first"].to_numpy(),
            frames=self.clips["frames"].to_numpy(),
            labels=self.clips["label"].map(self.labels.index).to_numpy(),
            n_classes=len(self.labels),
            names=self.clips["clip"].tolist(),
            speakers=self.clips["speaker"].tolist(),
        )


def make_plan(
    clips: pd.DataFrame,
    split: pd.DataFrame,
    *,
    labels: list[str],
    caches: Path,
    scratch: Path,
    logs: Path,
    settings: Mapping[str, Any],
) -> Plan:
    """Join the clip table and the split; name scratch and log folders after what is trained.

    The name is a digest of everything that a result depends on: settings, labels, clips, folds,
    caches, the weights of a warm start, the code that training reaches, and the version of torch.

    Parameters
    ----------
    clips, split : DataFrame
        the whole clip table, whose frames the caches hold; the split table
    labels, caches, settings
        see Plan
    scratch, logs : Path
        folders that hold those of the plan

    Raises
    ------
    ValueError
        if the clip table lacks clips of the split
    """
    table = clips[["clip", "speaker", "frames"]].assign(
        first=first_frames(clips["frames"].to_numpy())
    )
    table = split.merge(table, on="clip", validate="one_to_one")
    if len(table) != len(split):
        raise ValueError(f"split: {len(split) - len(table)} of its clips are not in the clip table")
    key = hashlib.sha256()
    for text in (
        json.dumps([settings, labels], sort_keys=True),
        torch.__version__,
        *(part.to_csv(index=False) for part in (clips, split)),
        code_key(reached(["stages.learning.jobs", *_target_modules(settings)])),
    ):
        key.update(text.encode())
    files = [caches / f"{name}.npy" for name in settings["features"]]
    start = settings["train"]["warm_start"]
    if start is not None and Path(start).is_file():  # else refused when the jobs begin
        files.append(Path(start))
    for path in files:
        with open(path, "rb") as file:
            key.update(hashlib.file_digest(file, "sha256").digest())
    name = key.hexdigest()[:16]
    return Plan(
        clips=table,
        labels=labels,
        frames=int(clips["frames"].sum()),
        caches=caches,
        scratch=scratch / name,
        logs=logs / f"{settings['model']['name']}-{name}",
        settings=settings,
    )


def _target_modules(settings: Mapping[str, Any]) -> set[str]:
    """Find the modules that model and training name by `_target_`, which no import shows.

    Those of the features are left out, as the key covers the caches.
    """
    text = json.dumps([settings["model"], settings["train"]])
    return set(re.findall(r'"_target_": "([\w.]+)\.\w+"', text))
