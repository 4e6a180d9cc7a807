"""What trained networks do inside with clips that they never heard: attention and last layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import Tensor, nn

from stages.audio.frames import first_frames
from stages.learning.batches import ClipData, WholeBatches
from stages.learning.checkpoints import Job, build_network, read_checkpoint
from stages.learning.layers import AttentiveStatistics
from stages.reporting.predictions import Predictions

#: Of the clips that a fold holds out, so many are drawn at most: more hide each other, and the
#: network takes longer than all figures.
MOST_CLIPS = 150
_BATCH, _MOST_FRAMES = 32, 6400


@dataclass(frozen=True)
class Embedding:
    """Clips of one fold as the network that never heard them describes them to its last layer.

    Attributes
    ----------
    clips : DataFrame
        clip, corpus, speaker, label, x, y; sorted by clip
    fold : str
    seed : int
    held_out : int
        clips of the fold, of which those of the table were drawn
    shares : (float, float)
        of the clips' variance that x and y hold
    """

    clips: pd.DataFrame
    fold: str
    seed: int
    held_out: int
    shares: tuple[float, float]


@dataclass(frozen=True)
class FoldNetworks:
    """The networks that the train stage kept of each fold, those of the first seed.

    Attributes
    ----------
    folder : Path
        of the checkpoints, of which those asked for are read and no others
    predictions : Predictions
        what the same jobs answered: tells seeds and labels
    caches : by feature, float16 [frames of all clips, dimensions]
    """

    folder: Path
    predictions: Predictions
    caches: Mapping[str, NDArray]

    @property
    def seed(self) -> int:
        return self.predictions.seeds[0]

    def load(self, fold: str) -> nn.Module | None:
        """The network that never heard a fold's held-out clips; None if the model is no network.

        Raises
        ------
        FileNotFoundError, ValueError
            naming the checkpoint that is missing, or that other labels or features were used for
        """
        path = self.folder / f"{Job(fold, self.seed).name}.pt"
        checkpoint = read_checkpoint(path)
        inputs = {name: cache.shape[1] for name, cache in self.caches.items()}
        for name, want in (("labels", self.predictions.labels), ("inputs", inputs)):
            if checkpoint[name] != want:
                raise ValueError(f"{path}: {name}: got {checkpoint[name]}, want {want}")
        return build_network(checkpoint)

    def data(self, clips: pd.DataFrame) -> ClipData:
        """Clips with columns first and frames, as the networks take them."""
        return ClipData(
            caches=self.caches,
            first=clips["first"].to_numpy(),
            frames=clips["frames"].to_numpy(),
            labels=np.zeros(len(clips), dtype=np.int64),
            n_classes=len(self.predictions.labels),
        )


@torch.inference_mode()
def attention(clips: pd.DataFrame, *, networks: FoldNetworks) -> list[NDArray[np.float32]]:
    """The weight that pooling gives to each frame of some clips, each in the fold that tests it.

    Parameters
    ----------
    clips : DataFrame
        fold, and first and frames: a clip's rows in the caches
    networks : FoldNetworks

    Returns
    -------
    list of float32 [frames]
        in the order of `clips`; 1 is the clip's mean. Where a network shortens time, all frames of
        a step have its weight. Empty if the network has no such layer, or the model is no network
    """
    found = {}
    for fold, rows in clips.groupby("fold", sort=False):
        network = networks.load(str(fold))
        layers = [] if network is None else network.modules()
        layers = [layer for layer in layers if isinstance(layer, AttentiveStatistics)]
        if not layers:
            return []
        data = networks.data(rows)
        for position, row in enumerate(rows.index):
            one, frames = np.array([position]), data.frames[[position]]
            batch = data.cut(one, offset=np.zeros_like(one), frames=frames)
            with _calls(layers) as calls:
                network(batch.features, batch.lengths)
            layer, arguments = calls[-1]  # of several the last one, which is nearest to the answer
            weights = layer.weights(*arguments)[0].numpy()
            step = -(-int(frames[0]) // len(weights))
            found[row] = np.repeat(weights * len(weights), step)[: frames[0]]
    return [found[row] for row in clips.index]


@torch.inference_mode()
def embedding(*, clips: pd.DataFrame, networks: FoldNetworks) -> Embedding | None:
    """Where clips that a network never heard lie in its last layer, in two dimensions by PCA.

    Each fold's network has a space of its own, so one fold is shown: the one that holds most clips
    out, the first of equals.

    Parameters
    ----------
    clips : DataFrame
        the clip table
    networks : FoldNetworks

    Returns
    -------
    Embedding or None
        None if the model is no network, or one whose logits come from no linear layer, or if there
        is nothing that could be spread over two dimensions
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
    pca = PCA(2, svd_solver="full")
    x, y = pca.fit_transform(vectors).T
    return Embedding(
        clips=rows[["clip", "corpus", "speaker", "label"]].assign(x=x, y=y),
        fold=str(fold),
        seed=networks.seed,
        held_out=number,
        shares=tuple(pca.explained_variance_ratio_.tolist()),
    )


def _last_inputs(network: nn.Module, data: ClipData) -> NDArray[np.float64] | None:
    """What the linear layer that gives the logits is given, [clips, size]; None without one."""
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    everything = np.arange(len(data.frames))
    vectors: NDArray | None = None
    for batch in WholeBatches(data, everything, size=_BATCH, most_frames=_MOST_FRAMES):
        with _calls(linear) as calls:
            logits = network(batch.features, batch.lengths)
        values = [given for layer, (given,) in calls if layer.out_features == logits.shape[1]]
        if not values or values[-1].ndim != 2:
            return None
        if vectors is None:
            vectors = np.zeros((len(everything), values[-1].shape[1]))
        vectors[batch.clips.numpy()] = values[-1].numpy()
    return vectors


@contextmanager
def _calls(layers: Iterable[nn.Module]) -> Iterator[Sequence[tuple[nn.Module, tuple[Tensor, ...]]]]:
    """What layers are called with within this block, in the order of the calls."""
    calls: list[tuple[nn.Module, tuple[Tensor, ...]]] = []
    hooks = [
        layer.register_forward_pre_hook(lambda layer, given: calls.append((layer, given)))
        for layer in layers
    ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()
