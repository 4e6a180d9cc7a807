"""The last layer of a network that is calibrated to speakers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.learning.batches import Batch
from stages.learning.linear import solve
from stages.learning.speaker_statistics import SpeakerStatistics

_LIMIT = 5.0  # standard deviations from the speaker's mean
#: Inverse of the strength of the penalty of the weights; chosen on validation speakers.
_C = 0.003


class SpeakerHead(nn.Module):
    """A pooled vector, less what is known of its speaker, through a linear layer.

    Attributes
    ----------
    mean, std : float [dimensions]
        of the speaker; those of the average speaker until others are known
    between, within, axis, place, around : float [dimensions]
        see SpeakerStatistics, to estimate a speaker's mean from a few clips
    estimate_std : bool
        whether the standard deviation of a speaker is estimated as well
    vectors : float [batch, dimensions]
        those of the last call, before they are normalised
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dimensions: int, n_classes: int, *, estimate_std: bool) -> None:
        super().__init__()
        self.estimate_std = estimate_std
        for name in ("mean", "between", "axis", "place", "around"):
            self.register_buffer(name, torch.zeros(dimensions))
        for name in ("std", "within"):
            self.register_buffer(name, torch.ones(dimensions))
        self.linear = nn.Linear(dimensions, n_classes)

    @property
    def statistics(self) -> SpeakerStatistics:
        """What the training speakers tell about a new one."""
        arrays = {
            name: buffer.double().cpu().numpy()
            for name, buffer in self.named_buffers(recurse=False)
            if name != "std"
        }
        return SpeakerStatistics(**arrays, std=self.estimate_std)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return logits [batch, classes] of vectors [batch, dimensions] of one speaker."""
        self.vectors = vectors
        return self.normalised((vectors - self.mean) / self.std)

    def for_voice(self, mean: NDArray, std: NDArray) -> Tensor:
        """Return logits of the vectors of the last call, for a voice of this mean and deviation."""
        centre, spread = (torch.as_tensor(array).to(self.vectors) for array in (mean, std))
        return self.normalised((self.vectors - centre) / spread)

    def normalised(self, vectors: Tensor) -> Tensor:
        """Return logits of vectors that are normalised already."""
        return self.linear(vectors.clamp(-_LIMIT, _LIMIT))

    def fit(
        self,
        vectors: NDArray,
        truth: NDArray[np.int64],
        statistics: SpeakerStatistics,
        *,
        solver: Any = None,
    ) -> None:
        """Find weights for normalised vectors of training clips; keep the statistics.

        Parameters
        ----------
        vectors : float [clips, dimensions]
        truth : int64 [clips]
            classes
        statistics : SpeakerStatistics
        solver : estimator of scikit-learn
            linear; None: logistic regression
        """
        if solver is None:
            # Takes a second to import, which networks without this layer are spared.
            from sklearn.linear_model import LogisticRegression

            solver = LogisticRegression(C=_C, class_weight="balanced", max_iter=1000)
        solve(self.linear, np.clip(vectors, -_LIMIT, _LIMIT), truth, solver=solver)
        _, std = statistics.of_speaker(vectors[:0])
        for name, values in (*statistics.arrays.items(), ("std", std)):
            self.get_buffer(name).copy_(torch.as_tensor(values, dtype=torch.float32))


def add_head(
    network: nn.Module, *, dimensions: int, n_classes: int, estimate_std: bool
) -> SpeakerHead:
    """Put a SpeakerHead in place of a network's `classifier`, and return it."""
    head = SpeakerHead(dimensions, n_classes, estimate_std=estimate_std)
    network.classifier = head
    return head


def check_head(network: nn.Module) -> None:
    """Refuse a network whose logits do not come from a layer called `classifier`.

    Raises
    ------
    ValueError
        naming the class of the network
    """
    if not isinstance(getattr(network, "classifier", None), nn.Module):
        kind = f"{type(network).__module__}.{type(network).__qualname__}"
        raise ValueError(
            f"calibration: got {kind} without a layer `classifier` behind its pooled vector, want "
            "another model, or calibration=none"
        )


@torch.inference_mode()
def pooled_vectors(
    network: nn.Module, batches: Iterable[Batch], *, place: NDArray[np.int64], count: int
) -> NDArray[np.float32]:
    """Compute the inputs of a network's `classifier`, float32 [count, dimensions].

    Parameters
    ----------
    network : nn.Module
        in evaluation mode
    batches : iterable of Batch
        of the clips
    place : int64 [clips of the data]
        row of the result of each clip, by its position in the data
    count : int
        number of clips
    """
    device = next(network.parameters()).device
    inputs: list[Tensor] = []
    handle = network.get_submodule("classifier").register_forward_pre_hook(
        lambda _, arguments: inputs.append(arguments[0])
    )
    result = np.zeros((count, 0), dtype=np.float32)
    try:
        for batch in batches:
            rows = place[batch.clips.numpy()]
            batch = batch.to(device)
            network(batch.features, batch.lengths)
            vectors = inputs.pop().cpu().numpy()
            if not result.shape[1]:
                result = np.zeros((count, vectors.shape[1]), dtype=np.float32)
            result[rows] = vectors
    finally:
        handle.remove()
    return result
