"""Checkpoints of the `train` stage: reading one, and proving that a training may start from it."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stages.clips.names import recording_of
from stages.running.settings import bind


def read_checkpoint(path: str | Path) -> dict:
    """Read a checkpoint of the `train` stage.

    Raises
    ------
    FileNotFoundError
        saying how to make the file
    ValueError
        if the file is no checkpoint
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint; `dvc repro` trains and writes it")
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ValueError(f"{path}: no checkpoint; `dvc repro` trains and writes it") from error


def build_network(checkpoint: Mapping) -> nn.Module | None:
    """The trained network of a checkpoint, in evaluation mode; None for a model that is none."""
    build = bind(checkpoint["model"]["network"])
    if not issubclass(build.func, nn.Module):
        return None
    network = build(checkpoint["inputs"], len(checkpoint["labels"]))
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
    """Prove that a training may start from the weights of a checkpoint.

    Parameters
    ----------
    path : path
    settings : mapping
        sections `features` and `model` of the parameters
    labels : list of str
        of the training, in their order
    inputs : dimensions by feature
    held_out : clip names by fold
        which the checkpoint must not have been trained on: neither they themselves nor a segment
        or a variant of theirs

    Raises
    ------
    FileNotFoundError
        if there is no such file
    ValueError
        naming what the checkpoint is of, and what is to be trained, where they differ; or a fold
        and a clip that it holds out and the checkpoint was trained on
    """
    try:
        checkpoint = read_checkpoint(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"train.warm_start: {error}; what stands in models/folds is replaced by the next run: "
            "copy it to another folder first"
        ) from error
    if "seen" not in checkpoint:
        raise ValueError(f"train.warm_start: {path}: does not say which clips it has seen")
    for name, got, want in (
        ("model", checkpoint["model"]["name"], settings["model"]["name"]),
        ("labels", checkpoint["labels"], labels),
        ("features", checkpoint["features"], settings["features"]),
        ("dimensions", checkpoint["inputs"], dict(inputs)),
    ):
        if got != want:
            raise ValueError(f"train.warm_start: {path}: {name}: got {got}, want {want}")
    state = bind(settings["model"]["network"])(inputs, len(labels)).state_dict()
    if _shapes(checkpoint["state"]) != _shapes(state):
        got, want = checkpoint["model"]["network"], settings["model"]["network"]
        raise ValueError(f"train.warm_start: {path}: network: got {got}, want the sizes of {want}")
    seen = {recording_of(clip) for clip in checkpoint["seen"]}
    for fold, clips in held_out.items():
        if known := [clip for clip in clips if recording_of(clip) in seen]:
            raise ValueError(
                f"train.warm_start: {path}: was trained on {len(known)} of the clips that fold "
                f"{fold} holds out, such as {known[0]}; want one that has heard none of them"
            )


def _shapes(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: values.shape for name, values in state.items()}
