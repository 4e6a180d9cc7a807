"""The trained networks of a run, and what their layers are called with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.learning.batches import ClipData
from stages.learning.checkpoints import Job, build_network, read_checkpoint
from stages.reporting.predictions import Predictions
from stages.settings.checks import named


@dataclass(frozen=True)
class FoldNetworks:
    """The networks that the train stage kept of each fold, those of the first seed.

    Attributes
    ----------
    folder : Path
        of the checkpoints; only those asked for are read
    predictions : Predictions
        of the same jobs
    caches : by feature, float16 [frames of all clips, dimensions]
    """

    folder: Path
    predictions: Predictions
    caches: Mapping[str, NDArray]

    @property
    def seed(self) -> int:
        """Seed of the networks, the first one of the run."""
        return self.predictions.seeds[0]

    def load(self, fold: str) -> nn.Module | None:
        """Read the network that was not trained on a fold's held-out clips.

        Returns
        -------
        Module or None
            None if the model is no network

        Raises
        ------
        FileNotFoundError, ValueError
            naming the checkpoint that is missing, or that has other labels or features
        """
        path = self.folder / f"{Job(fold, self.seed).name}.pt"
        checkpoint = read_checkpoint(path)
        heard = set(checkpoint["inputs"])  # a student need not hear all of them
        caches = {name: cache for name, cache in self.caches.items() if name in heard}
        inputs = {name: cache.shape[1] for name, cache in caches.items()}
        for name, want in (("labels", self.predictions.labels), ("inputs", inputs)):
            if checkpoint[name] != want:
                raise ValueError(f"{path}: {name}: got {checkpoint[name]}, want {want}")
        with named(path):
            return build_network(checkpoint)

    def data(self, clips: pd.DataFrame) -> ClipData:
        """Give clips, with columns first and frames, the form that networks take."""
        return ClipData(
            caches=self.caches,
            first=clips["first"].to_numpy(),
            frames=clips["frames"].to_numpy(),
            labels=np.zeros(len(clips), dtype=np.int64),
            n_classes=len(self.predictions.labels),
        )


@contextmanager
def record_calls(
    layers: Iterable[nn.Module],
) -> Iterator[Sequence[tuple[nn.Module, tuple[Tensor, ...]]]]:
    """Record the layers that are called within this block, in order, with their arguments."""
    calls: list[tuple[nn.Module, tuple[Tensor, ...]]] = []

    def record(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        calls.append((layer, arguments))

    hooks = [layer.register_forward_pre_hook(record) for layer in layers]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()
