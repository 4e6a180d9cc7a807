"""Clips as batches, cut straight out of the memory-mapped feature caches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stages.clips.feature_files import release
from stages.clips.names import variant_of


class Batch(NamedTuple):
    """Clips of a batch, padded with zeros to the longest of them.

    Attributes
    ----------
    features : float32 [batch, frames, dimensions] by feature
    lengths : int64 [batch]
        frames without padding
    labels : int64 [batch]
    clips : int64 [batch]
        positions in the data
    """

    features: dict[str, Tensor]
    lengths: Tensor
    labels: Tensor
    clips: Tensor

    def to(self, device: torch.device) -> Batch:
        """Copy the batch to a device."""
        features = {name: values.to(device) for name, values in self.features.items()}
        return Batch(features, *(values.to(device) for values in self[1:]))


@dataclass(frozen=True)
class ClipData:
    """The clips of an experiment, as positions 0, 1, ... into arrays that are never copied.

    Attributes
    ----------
    caches : float16 [frames of all clips, dimensions] by feature
    first, frames : int64 [clips]
        each clip's first row and its number of rows
    labels : int64 [clips]
        positions in the label set
    n_classes : int
    names : sequence of str
        the clips' names, corpus/name; may be empty where no caller needs them
    speakers : sequence of str
        the clips' speakers; may be empty where no caller needs them
    targets : float32 [clips, classes] or None
        probabilities that training aims at; None: 1 for the label and 0 for the others
    enrolment : int64 [enrolment clips]
        positions of the clips that say how held-out speakers usually sound; may be empty
    """

    caches: Mapping[str, np.ndarray]
    first: np.ndarray
    frames: np.ndarray
    labels: np.ndarray
    n_classes: int
    names: Sequence[str] = ()
    speakers: Sequence[str] = ()
    targets: np.ndarray | None = None
    enrolment: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @property
    def inputs(self) -> dict[str, int]:
        """Dimensions by feature."""
        return {name: cache.shape[1] for name, cache in self.caches.items()}

    def speakers_of(self, clips: np.ndarray) -> list[str]:
        """Who speaks in each clip, by position; nobody where no speakers are named."""
        return [self.speakers[clip] for clip in clips] if len(self.speakers) else []

    def voices_of(self, clips: np.ndarray) -> list[str]:
        """Whose voice each clip has, by position: the speaker's; a variant has one of its own."""
        return [self.speakers[clip] + variant_of(self.names[clip]) for clip in clips]

    @property
    def corpora(self) -> np.ndarray:
        """Corpus of each clip, str [clips]."""
        return np.array([name.partition("/")[0] for name in self.names])

    def cut(
        self,
        clips: np.ndarray,
        *,
        offset: np.ndarray,
        frames: np.ndarray,
        speed: np.ndarray | float = 1.0,
    ) -> Batch:
        """Cut a batch out of the caches, with one gather per feature.

        Parameters
        ----------
        clips, offset, frames : int64 [batch]
            positions of the clips; first frame and number of frames to take of each
        speed : float [batch]
            frames of a clip per frame taken: above 1 some are left out, below 1 some are repeated
        """
        steps = np.arange(frames.max())
        padding = steps >= frames[:, None]
        advance = np.minimum(steps, frames[:, None] - 1) * np.reshape(speed, (-1, 1))
        rows = (self.first[clips] + offset)[:, None] + advance.astype(np.int64)
        features = {}
        for name, cache in self.caches.items():
            values = np.take(cache, rows, axis=0)  # four times as fast as cache[rows]
            values[padding] = 0
            features[name] = torch.from_numpy(values).float()
            release(cache)
        return Batch(
            features,
            torch.from_numpy(frames),
            torch.from_numpy(self.labels[clips]),
            torch.from_numpy(clips),
        )

    def statistics(self, clips: np.ndarray) -> dict[str, tuple[Tensor, Tensor]]:
        """Compute mean and standard deviation of every dimension over all frames of some clips.

        Parameters
        ----------
        clips : int64 [n]
            positions

        Returns
        -------
        dict of (mean, std), float32 [dimensions], by feature
        """
        total = int(self.frames[clips].sum())
        sums = {name: np.zeros((2, size)) for name, size in self.inputs.items()}
        for chunk in np.array_split(clips, max(1, total // 100_000)):
            rows = np.concatenate(
                [
                    np.arange(start, start + count)
                    for start, count in zip(self.first[chunk], self.frames[chunk], strict=True)
                ]
            )
            for name, cache in self.caches.items():
                values = cache[rows].astype(np.float64)
                sums[name] += values.sum(axis=0), np.square(values).sum(axis=0)
                release(cache)
        result = {}
        for name, (total_value, total_square) in sums.items():
            mean = total_value / total
            std = np.sqrt(np.maximum(total_square / total - mean**2, 0))
            result[name] = torch.tensor(mean).float(), torch.tensor(std).float()
        return result


class TrainingBatches:
    """Batches of clips of similar length, shuffled, and of equal size but for one clip.

    Parameters
    ----------
    data : ClipData
    clips : int64 [n]
        positions of the clips to use
    size : int
        largest number of clips per batch. A batch may have one more, so that none has a single
        clip, which cannot be normalised over clips
    crop : int
        longer clips are cut to so many frames, at a place drawn anew on every pass
    speed : float
        largest change of a clip's speed, as a share, drawn anew on every pass
    seed : int
        of the order, the crops and the speeds
    probability : float [n] or None
        of each clip to be drawn next, with the sum 1: a pass then draws n clips with replacement.
        None: a pass has each clip once
    """

    _POOL = 16  # batches whose clips are sorted by length together; the rest stays random

    def __init__(
        self,
        data: ClipData,
        clips: np.ndarray,
        *,
        size: int,
        crop: int,
        speed: float,
        seed: int,
        probability: np.ndarray | None = None,
    ) -> None:
        self._data, self._clips, self._size = data, clips, size
        self._crop, self._speed, self._probability = crop, speed, probability
        self._random = np.random.default_rng(seed)

    def __len__(self) -> int:
        return max(1, min(-(-len(self._clips) // self._size), len(self._clips) // 2))

    def __iter__(self) -> Iterator[Batch]:
        clips = self._clips
        if self._probability is not None:
            clips = self._random.choice(clips, len(clips), p=self._probability)
        available = self._data.frames[clips]
        speed = self._random.uniform(1 - self._speed, 1 + self._speed, len(clips))
        frames = np.minimum(np.ceil(available / speed).astype(np.int64), self._crop)
        reach = np.minimum(np.ceil(frames * speed).astype(np.int64), available)
        offset = self._random.integers(0, available - reach + 1)
        order = self._random.permutation(len(clips))
        pool = np.arange(len(order)) * len(self) // len(order) // self._POOL
        order = order[np.lexsort((frames[order], pool))]
        batches = np.array_split(order, len(self))
        self._random.shuffle(batches)
        for batch in batches:
            yield self._data.cut(
                clips[batch], offset=offset[batch], frames=frames[batch], speed=speed[batch]
            )


def balanced_probability(groups: np.ndarray) -> np.ndarray:
    """Compute the probability of each clip to be drawn, float [n], that balances groups of clips.

    Parameters
    ----------
    groups : int64 or str [n]
        group of each clip
    """
    _, group, count = np.unique(groups, return_inverse=True, return_counts=True)
    return 1 / (len(count) * count[group])


class WholeBatches:
    """Batches of whole clips, the longest first, in the same order on every pass.

    Parameters
    ----------
    data : ClipData
    clips : int64 [n]
        positions of the clips to use
    size : int
        largest number of clips per batch
    most_frames : int
        largest number of frames per batch, padding included, which bounds the memory of a batch;
        a clip that is longer forms a batch of its own
    """

    def __init__(self, data: ClipData, clips: np.ndarray, *, size: int, most_frames: int) -> None:
        self._data = data
        self._batches: list[np.ndarray] = []
        clips = clips[np.argsort(-data.frames[clips], kind="stable")]
        while len(clips):
            count = min(size, max(1, most_frames // data.frames[clips[0]]))
            self._batches.append(clips[:count])
            clips = clips[count:]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        for clips in self._batches:
            yield self._data.cut(
                clips, offset=np.zeros_like(clips), frames=self._data.frames[clips]
            )
