"""Checkpoints of the `train` stage: their names, reading them, the conditions of a warm start."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from stages.clips.names import part_of_file, recording_of
from stages.learning.learner import calibrated, is_network
from stages.learning.model_facts import (
    check_labels,
    check_settings,
    explained,
    is_number,
    is_text,
    require,
)
from stages.learning.speaker_head import add_head, check_head
from stages.learning.speaker_statistics import STATISTICS
from stages.settings.checks import check, named
from stages.settings.loading import bind

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
    """Read a checkpoint of the `train` stage, which may be somebody else's, and check it.

    Raises
    ------
    FileNotFoundError
        naming the command that writes the file
    ValueError
        if the file is not a checkpoint, naming the key that is missing, of another type, or not
        finite
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint; `dvc repro` trains and writes it")
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="cpu")
        require("content", checkpoint, isinstance(checkpoint, dict), "sections by name")
    except Exception as error:  # a file of another kind can raise anything
        raise ValueError(f"{path}: not a checkpoint; `dvc repro` trains and writes it") from error
    with named(path):
        _check_sections(checkpoint)
    return checkpoint


def require_sections(checkpoint: Mapping[str, Any], *keys: str) -> None:
    """Refuse a checkpoint without these sections: a ValueError names the first that is missing."""
    for key in keys:
        if key not in checkpoint:
            raise ValueError(f"{key}: got nothing, want a section of a checkpoint")


def _check_sections(checkpoint: Mapping[str, Any]) -> None:
    require_sections(checkpoint, "labels", "model", "inputs", "state")
    check_labels(checkpoint["labels"])
    for key in ("model", "features", "train", "audio", "inputs"):
        check_settings(key, checkpoint.get(key, {}))
    model, inputs = checkpoint["model"], checkpoint["inputs"]
    require("model.name", model.get("name"), isinstance(model.get("name"), str), "a name")
    check_settings("model.network", model.get("network"))
    for name, feature in checkpoint.get("features", {}).items():
        check_settings(f"features.{name}", feature)
    require("inputs", inputs, bool(inputs), "the dimensions of each feature")
    for name, size in inputs.items():
        require(f"inputs.{name}", size, type(size) is int and size > 0, "a whole number over 0")
    _check_window(checkpoint.get("train", {}))
    if checkpoint.get("calibration") is not None:
        _check_calibration(checkpoint["calibration"])
    seen = checkpoint.get("seen", [])
    texts = isinstance(seen, list) and all(isinstance(clip, str) for clip in seen)
    require("seen", seen, texts, "a list of names of clips")
    state = checkpoint["state"]
    names = isinstance(state, dict) and all(is_text(name, longest=1000) for name in state)
    require("state", state, names, "weights by name")
    for name, weights in state.items():
        _check_weights(f"state.{name}", weights)


def _check_window(train: Mapping[str, Any]) -> None:
    """Check the settings that stages.learning.layers.window_frames reads."""
    if train.get("window_s") is not None:
        for name in ("window_s", "sample_rate", "hop_length"):
            value = train.get(name)
            fine = is_number(value, low=1e-3, high=1e6)
            require(f"train.{name}", value, fine, "a number from 0.001 to 1000000")


def _check_calibration(section: Any) -> None:
    """Check the settings that stages.learning.learner.calibrated reads."""
    check_settings("calibration", section)
    clips, statistics = section.get("clips"), section.get("statistics")
    fine = clips == "all" or type(clips) is int
    require("calibration.clips", clips, fine, "a whole number or all")
    if clips != 0:
        known = ("none", *STATISTICS)
        want = ", ".join(known)
        require("calibration.statistics", statistics, statistics in known, want)


def _check_weights(key: str, weights: Any) -> None:
    dense = isinstance(weights, torch.Tensor) and weights.layout is torch.strided
    require(key, type(weights).__name__, dense, "a dense tensor")
    # A tensor of any shape may repeat a single number.
    held = weights.device.type == "cpu" and not weights.is_quantized
    held = held and weights.numel() * weights.element_size() <= weights.untyped_storage().nbytes()
    require(key, list(weights.shape), held, "as many numbers as its shape says")
    require(key, "NaN or infinity", bool(weights.isfinite().all()), "finite numbers")


def build_network(checkpoint: Mapping) -> nn.Module | None:
    """Build the trained network of a checkpoint, in evaluation mode; None for a classical model.

    Raises
    ------
    ValueError
        if its settings build no network, or one of other sizes than its weights, naming both
    """
    labels, state = checkpoint["labels"], checkpoint["state"]
    with explained("model.network", "settings that build a network"):
        if not is_network(checkpoint["model"]):
            return None
        build = bind(checkpoint["model"]["network"], "networks")
        network = build(checkpoint["inputs"], len(labels))
    if calibrated(checkpoint):
        check_head(network)
        mean = state.get("classifier.mean")
        fine = mean is not None and mean.ndim == 1
        require("state.classifier.mean", mean, fine, "a vector, as calibration says")
        add_head(
            network,
            dimensions=mean.shape[0],
            n_classes=len(labels),
            estimate_std=checkpoint["calibration"]["statistics"] == "mean_std",
        )
    got, want = _sizes(state), _sizes(network.state_dict())
    for name in dict.fromkeys([*want, *got]):
        sizes = got.get(name, "nothing"), want.get(name, "nothing")
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"state.{name}: got {sizes[0]}, want {sizes[1]}, as model.network and inputs say"
            )
    network.load_state_dict(state)
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
        clips that the checkpoint must not have been trained on, nor on a segment, a variant or an
        overlapping excerpt of their recordings

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
    except ValueError as error:
        raise ValueError(f"train.warm_start: {error}") from error
    prefix = f"train.warm_start: {path}"
    for name, got, want in (
        ("model", checkpoint["model"]["name"], settings["model"]["name"]),
        ("labels", checkpoint["labels"], labels),
        ("features", checkpoint["features"], settings["features"]),
        ("dimensions", checkpoint["inputs"], dict(inputs)),
    ):
        check(f"{prefix}: {name}", got, got == want, repr(want))
    state = bind(settings["model"]["network"], "networks")(inputs, len(labels)).state_dict()
    same = _sizes(checkpoint["state"]) == _sizes(state)
    want = f"the sizes of {settings['model']['network']}"
    check(f"{prefix}: network", checkpoint["model"]["network"], same, want)
    if "seen" not in checkpoint:
        raise ValueError(
            f"{prefix}: does not list the clips that it was trained on; train it again"
        )
    seen = defaultdict(list)
    for recording in {recording_of(clip) for clip in checkpoint["seen"]}:
        file, *times = part_of_file(recording)
        seen[file].append(times)

    def heard(clip: str) -> bool:
        file, start, end = part_of_file(recording_of(clip))
        return any(begin < end and start < stop for begin, stop in seen.get(file, ()))

    for fold, clips in held_out.items():
        if known := [clip for clip in clips if heard(clip)]:
            raise ValueError(
                f"{prefix}: was trained on {len(known)} clips that fold {fold} holds out, such as "
                f"{known[0]}; want a checkpoint that was trained on none of them"
            )


def _sizes(state: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Describe the shape and the type of each weight."""
    return {
        name: f"{list(weights.shape)} {str(weights.dtype).removeprefix('torch.')}"
        for name, weights in state.items()
    }
