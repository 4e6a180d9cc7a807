"""Checkpoints of the `train` stage: their names, reading them, the conditions of a warm start."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from stages.clips.names import recording_of
from stages.learning.learner import calibrated, is_network
from stages.learning.speaker_head import add_head
from stages.running.checks import check
from stages.running.settings import bind

#: Sections of params.yaml that a job depends on besides its clips; its checkpoint holds them.
SECTIONS = ("audio", "calibration", "features", "model", "train")


class Job(NamedTuple):
    """One training: a fold of the split, or `all` for every clip, with one seed.

    Its checkpoint is models/folds/<name>.pt.
    """

    fold: str
    seed: int

    @property
    def name(self) -> str:
        """Name of the job in file names and logs."""
        return f"fold_{self.fold}-seed_{self.seed}"


def read_checkpoint(path: str | Path) -> dict:
    """Read a checkpoint of the `train` stage.

    Raises
    ------
    FileNotFoundError
        naming the command that writes the file
    ValueError
        if the file is not a checkpoint
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint; `dvc repro` trains and writes it")
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ValueError(f"{path}: not a checkpoint; `dvc repro` trains and writes it") from error


def build_network(checkpoint: Mapping) -> nn.Module | None:
    """Build the trained network of a checkpoint, in evaluation mode; None for a classical model."""
    if not is_network(checkpoint["model"]):
        return None
    build = bind(checkpoint["model"]["network"], "networks")
    network = build(checkpoint["inputs"], len(checkpoint["labels"]))
    if calibrated(checkpoint):
        dimensions = checkpoint["state"]["classifier.mean"].shape[0]
        add_head(
            network,
            dimensions=dimensions,
            n_classes=len(checkpoint["labels"]),
            estimate_std=checkpoint["calibration"]["statistics"] == "mean_std",
        )
    network.load_state_dict(checkpoint["state"])
    return network.eval()


def check_start(
    path: str | Path,
    *,
    settings: Mapping[str, Any],
    labels: list[str],
    inputs: Mapping[str, int],
    held_out: Mapping[str, Iterable[str]],
) -> None:
    """Refuse a checkpoint that does not fit a training or has heard its held-out clips.

    Parameters
    ----------
    path : path
    settings : mapping
        sections `features` and `model` of the parameters
    labels : list of str
        of the training, in their order
    inputs : dimensions by feature
    held_out : clip names by fold
        clips that the checkpoint must not have been trained on, nor on a segment or a variant of
        their recordings

    Raises
    ------
    FileNotFoundError
        if there is no such file
    ValueError
        naming the setting in which checkpoint and training differ, with both values, or a fold and
        one of its held-out clips that the checkpoint was trained on
    """
    try:
        checkpoint = read_checkpoint(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"train.warm_start: {error}; copy it to another folder than models/folds, which every "
            "run replaces"
        ) from error
    prefix = f"train.warm_start: {path}"
    for name, got, want in (
        ("model", checkpoint["model"]["name"], settings["model"]["name"]),
        ("labels", checkpoint["labels"], labels),
        ("features", checkpoint["features"], settings["features"]),
        ("dimensions", checkpoint["inputs"], dict(inputs)),
    ):
        check(f"{prefix}: {name}", got, got == want, repr(want))
    state = bind(settings["model"]["network"], "networks")(inputs, len(labels)).state_dict()
    same = _shapes(checkpoint["state"]) == _shapes(state)
    want = f"the sizes of {settings['model']['network']}"
    check(f"{prefix}: network", checkpoint["model"]["network"], same, want)
    if "seen" not in checkpoint:
        raise ValueError(
            f"{prefix}: does not list the clips that it was trained on; train it again"
        )
    seen = {recording_of(clip) for clip in checkpoint["seen"]}
    for fold, clips in held_out.items():
        if known := [clip for clip in clips if recording_of(clip) in seen]:
            raise ValueError(
                f"{prefix}: was trained on {len(known)} clips that fold {fold} holds out, such as "
                f"{known[0]}; want a checkpoint that was trained on none of them"
            )


def _shapes(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: values.shape for name, values in state.items()}
