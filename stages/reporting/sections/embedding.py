"""Clips in the last layer of a network that never heard them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import nn

from stages.audio.frames import first_frames
from stages.learning.batches import ClipData, WholeBatches
from stages.reporting.drawing import COLOURS, MARKERS, in_legend, new_figure, set_title
from stages.reporting.fold_networks import FoldNetworks, record_calls
from stages.reporting.run import Run
from stages.reporting.section import Section

#: Greatest number of clips drawn: more hide each other, and the network takes longer than all
#: figures together.
MOST_CLIPS = 150
_BATCH, _MOST_FRAMES = 32, 6400
_GROUPS = 6  # more markers cannot be told apart where colours stand for something else


def section(run: Run) -> Section | None:
    """The plane of one fold's clips, if the model has one."""
    networks = FoldNetworks(run.checkpoints, run.predictions, run.caches)
    found = embedding(clips=run.clips, networks=networks)
    if found is None:
        return None
    figure = embedding_figure(
        found.clips,
        labels=run.predictions.labels,
        shares=found.shares,
        heading=f"Held-out clips of fold {found.fold} at the input of the last layer",
        notes=run.notes,
    )
    return Section(figures={"embedding": figure}, words={"embedding": found})


@dataclass(frozen=True)
class Embedding:
    """Clips of one fold as the network that never heard them represents them.

    Attributes
    ----------
    clips : DataFrame
        clip, corpus, speaker, label, x, y; sorted by clip
    fold : str
    seed : int
    held_out : int
        clips of the fold, from which those of the table were drawn
    shares : (float, float)
        fractions of the clips' variance along x and y
    """

    clips: pd.DataFrame
    fold: str
    seed: int
    held_out: int
    shares: tuple[float, float]


@torch.inference_mode()
def embedding(*, clips: pd.DataFrame, networks: FoldNetworks) -> Embedding | None:
    """Project the inputs of a network's last layer to two dimensions, by PCA.

    Each fold's network has a space of its own, so one fold is shown: the one that holds out the
    most clips, the first of equals.

    Parameters
    ----------
    clips : DataFrame
        the clip table
    networks : FoldNetworks

    Returns
    -------
    Embedding or None
        None if the model is no network, no linear layer gives its logits, or the clips do not vary
        in two dimensions
    """
    held_out = networks.predictions.clips
    fold = held_out["fold"].value_counts(sort=False).sort_index().idxmax()
    rows = held_out[held_out["fold"] == fold].reset_index(drop=True)
    number = len(rows)
    network = networks.load(str(fold))
    if network is None:
        return None
    if number > MOST_CLIPS:
        drawn = np.random.default_rng(0).choice(number, MOST_CLIPS, replace=False)
        rows = rows.iloc[np.sort(drawn)]
    frames = clips[["clip", "frames"]].assign(first=first_frames(clips["frames"].to_numpy()))
    rows = rows.merge(frames, on="clip", validate="one_to_one")
    vectors = _last_inputs(network, networks.data(rows))
    if vectors is None or min(vectors.shape) < 2 or not np.ptp(vectors, axis=0).any():
        return None
    vectors -= vectors.mean(0)
    _, scales, axes = np.linalg.svd(vectors, full_matrices=False)
    # A component's sign is arbitrary: as in scikit-learn, its largest weight is positive.
    largest = np.take_along_axis(axes, abs(axes).argmax(1)[:, None], axis=1)
    x, y = (vectors @ (axes * np.sign(largest))[:2].T).T
    first, second = (scales**2 / (scales**2).sum())[:2].tolist()
    return Embedding(
        clips=rows[["clip", "corpus", "speaker", "label"]].assign(x=x, y=y),
        fold=str(fold),
        seed=networks.seed,
        held_out=number,
        shares=(first, second),
    )


def _last_inputs(network: nn.Module, data: ClipData) -> NDArray[np.float64] | None:
    """Inputs of the linear layer that gives the logits, [clips, size]; None without one."""
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    everything = np.arange(len(data.frames))
    vectors: NDArray | None = None
    for batch in WholeBatches(data, everything, size=_BATCH, most_frames=_MOST_FRAMES):
        with record_calls(linear) as calls:
            logits = network(batch.features, batch.lengths)
        inputs = [given for layer, (given,) in calls if layer.out_features == logits.shape[1]]
        if not inputs or inputs[-1].ndim != 2:
            return None
        if vectors is None:
            vectors = np.zeros((len(everything), inputs[-1].shape[1]))
        vectors[batch.clips.numpy()] = inputs[-1].numpy()
    return vectors


def embedding_figure(
    clips: pd.DataFrame,
    *,
    labels: Sequence[str],
    shares: Sequence[float],
    heading: str,
    notes: Sequence[str],
) -> Figure:
    """Draw clips in the plane: a colour for each label, a marker for each corpus or speaker.

    Markers stand for corpora if there are a few, else for speakers if there are a few, else for
    labels as well.

    Parameters
    ----------
    clips : DataFrame
        corpus, speaker, label, x, y
    labels : list of str
        the classes, in the order of colours
    shares : two floats
        fractions of the variance along x and y
    heading : str
    notes : list of str
        lines below the title
    """
    figure, axes = new_figure(7, 4.6)
    few = [name for name in ("corpus", "speaker") if 1 < clips[name].nunique() <= _GROUPS]
    column = next(iter(few), "label")
    groups = labels if column == "label" else sorted(set(clips[column]))
    markers = dict(zip(groups, cycle(MARKERS), strict=False))
    line: dict[str, Any] = {"edgecolor": "#333333", "s": 26}
    for number, label in enumerate(labels):
        turn, place = divmod(number, len(COLOURS))
        colour: dict[str, Any] = {"color": COLOURS[place], "linewidth": 0.4 + turn} | line
        axes.scatter([], [], marker=markers.get(label, "o"), label=in_legend(label), **colour)
        for group, rows in clips[clips["label"] == label].groupby(column):
            axes.scatter(rows["x"], rows["y"], marker=markers[group], zorder=3, **colour)
    if column != "label":
        for group, marker in markers.items():
            axes.scatter([], [], color="white", linewidth=0.8, marker=marker, label=group, **line)
    first, second = (f"({100 * share:.0f} % of the variance)" for share in shares)
    axes.set_xlabel(f"first principal component {first}")
    axes.set_ylabel(f"second principal component {second}")
    figure.legend(loc="outside right center")
    set_title(axes, heading, notes)
    return figure
