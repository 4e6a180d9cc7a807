"""Clips as batches, cut straight out of the memory-mapped feature caches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Batch(NamedTuple):
    """Some clips, padded with zeros to the longest of them."""

    features: dict[str, Tensor]  # float32 [batch, frames, dimensions] by feature
    lengths: Tensor  # int64 [batch], frames that are not padding
    labels: Tensor  # int64 [batch]
    clips: Tensor  # int64 [batch], positions in the data

    def to(self, device: torch.device) -> Batch:
        """The same, on a device."""
        features = {name: values.to(device) for name, values in self.features.items()}
        return Batch(features, *(values.to(device) for values in self[1:]))


@dataclass(frozen=True)
class ClipData:
    """The clips of an experiment, as positions 0, 1, ... into arrays that are never copied.

    caches : float16 [frames of all clips, dimensions] by feature
    first, frames : int64 [clips], each clip's first row and its number of rows
    labels : int64 [clips], positions in the label set
    n_classes : int
    names : the clips' names, corpus/name; where nothing asks for them there may be none
    """

    caches: Mapping[str, np.ndarray]
    first: np.ndarray
    frames: np.ndarray
    labels: np.ndarray
    n_classes: int
    names: Sequence[str] = ()

    @property
    def inputs(self) -> dict[str, int]:
        """Dimensions by feature."""
        return {name: cache.shape[1] for name, cache in self.caches.items()}

    def cut(
        self,
        clips: np.ndarray,
        *,
        offset: np.ndarray,
        frames: np.ndarray,
        speed: np.ndarray | float = 1.0,
    ) -> Batch:
        """One gather per feature, whatever the number of clips.

        Parameters
        ----------
        clips, offset, frames : int64 [batch]
            which clips; where in each to begin; how many frames to take
        speed : float [batch]
            frames of a clip per frame taken: over 1, some are left out, below, some come twice

        Returns
        -------
        Batch
        """
        steps = np.arange(frames.max())
        valid = steps < frames[:, None]
        within = np.minimum(steps, frames[:, None] - 1) * np.reshape(speed, (-1, 1))
        rows = (self.first[clips] + offset)[:, None] + within.astype(np.int64)
        padding = ~valid
        features = {}
        for name, cache in self.caches.items():
            values = np.take(cache, rows, axis=0)  # four times as fast as cache[rows]
            values[padding] = 0
            features[name] = torch.from_numpy(values).float()
        return Batch(
            features,
            torch.from_numpy(frames),
            torch.from_numpy(self.labels[clips]),
            torch.from_numpy(clips),
        )

    @property
    def corpora(self) -> np.ndarray:
        """The corpus of each clip, str [clips], as its name says."""
        return np.array([name.partition("/")[0] for name in self.names])

    def statistics(self, clips: np.ndarray) -> dict[str, tuple[Tensor, Tensor]]:
        """Mean and deviation of every dimension over all frames of some clips.

        Returns
        -------
        dict of (mean, deviation), float32 [dimensions], by feature
        """
        total = int(self.frames[clips].sum())
        sums = {name: np.zeros((2, size)) for name, size in self.inputs.items()}
        for some in np.array_split(clips, max(1, total // 100_000)):
            rows = np.concatenate(
                [
                    np.arange(a, a + n)
                    for a, n in zip(self.first[some], self.frames[some], strict=True)
                ]
            )
            for name, cache in self.caches.items():
                values = cache[rows].astype(np.float64)
                sums[name] += values.sum(axis=0), np.square(values).sum(axis=0)
        result = {}
        for name, (first, second) in sums.items():
            mean = first / total
            deviation = np.sqrt(np.maximum(second / total - mean**2, 0))
            result[name] = torch.tensor(mean).float(), torch.tensor(deviation).float()
        return result


class TrainingBatches:
    """Batches of clips of about equal length and even size, in another order on every pass.

    Parameters
    ----------
    data : ClipData
    clips : int64 [n]
        positions of the clips to use
    size : int
        clips per batch, at most; one more where a clip would be left alone, which could not be
        normalised over clips
    crop : int
        frames to cut longer clips to, at a place drawn anew on every pass
    speed : float
        most by which clips are slowed down or hurried, as a share, drawn anew on every pass
    seed : int
        of the order, the crops and the speeds
    chance : float [n] or None
        of each clip to be drawn next, their sum 1: as many are drawn on a pass as there are, some
        of them several times. None: each once
    """

    _POOL = 16  # batches that are sorted by length together, so that chance stays in the rest

    def __init__(
        self,
        data: ClipData,
        clips: np.ndarray,
        *,
        size: int,
        crop: int,
        speed: float,
        seed: int,
        chance: np.ndarray | None = None,
    ) -> None:
        self._data, self._clips, self._size = data, clips, size
        self._crop, self._speed, self._chance = crop, speed, chance
        self._random = np.random.default_rng(seed)

    def __len__(self) -> int:
        return max(1, min(-(-len(self._clips) // self._size), len(self._clips) // 2))

    def __iter__(self) -> Iterator[Batch]:
        clips = self._clips
        if self._chance is not None:
            clips = self._random.choice(clips, len(clips), p=self._chance)
        whole = self._data.frames[clips]
        speed = self._random.uniform(1 - self._speed, 1 + self._speed, len(whole))
        frames = np.minimum(np.ceil(whole / speed).astype(np.int64), self._crop)
        reach = np.minimum(np.ceil(frames * speed).astype(np.int64), whole)
        offset = self._random.integers(0, whole - reach + 1)
        order = self._random.permutation(len(whole))
        pool = np.arange(len(order)) * len(self) // len(order) // self._POOL
        order = order[np.lexsort((frames[order], pool))]
        batches = np.array_split(order, len(self))
        self._random.shuffle(batches)
        for some in batches:
            yield self._data.cut(
                clips[some], offset=offset[some], frames=frames[some], speed=speed[some]
            )


def even_chance(groups: np.ndarray) -> np.ndarray:
    """Chance of each clip to be drawn, float [n], so that each group is drawn as often.

    Parameters
    ----------
    groups : int64 or str [n]
        which group each clip belongs to
    """
    _, group, number = np.unique(groups, return_inverse=True, return_counts=True)
    return 1 / (len(number) * number[group])


class WholeBatches:
    """Batches of whole clips, the longest first, always the same.

    Parameters
    ----------
    data : ClipData
    clips : int64 [n]
        positions of the clips to use
    size : int
        clips per batch, at most
    most_frames : int
        frames per batch with padding, at most, so that a batch of long clips takes no more memory
        than one of short clips; a longer clip is a batch of its own
    """

    def __init__(self, data: ClipData, clips: np.ndarray, *, size: int, most_frames: int) -> None:
        self._data, self._batches = data, []
        clips = clips[np.argsort(-data.frames[clips], kind="stable")]
        while len(clips):
            number = min(size, max(1, most_frames // data.frames[clips[0]]))
            self._batches.append(clips[:number])
            clips = clips[number:]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        for clips in self._batches:
            yield self._data.cut(
                clips, offset=np.zeros_like(clips), frames=self._data.frames[clips]
            )
