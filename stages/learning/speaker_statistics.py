"""What is known of a speaker's usual voice, and vectors of clips with that taken off."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.running.checks import check

if TYPE_CHECKING:  # app.profiles imports this module, and needs no torch
    from stages.learning.batches import ClipData

STATISTICS = ("mean", "mean_std")
_FEWEST = 1e-6  # clips, in place of none
_LARGEST = 1e30  # number that a file may hold
#: Variance between speakers over that within them where a single speaker does not tell. Medians
#: over dimensions are .09 to .35 on RAVDESS and EMO-DB, and means .13 to .55.
_UNKNOWN = 0.3
#: Clips that the training speakers' average variance counts for, beside those of a speaker.
_WEIGHT = 10.0


@dataclass(frozen=True)
class SpeakerStatistics:
    """Speakers of the training side, from whom a new speaker is estimated.

    The mean of a new speaker is estimated by empirical Bayes: speakers are taken to be normally
    distributed around the average speaker, and clips around their speaker. So the estimate stays
    near the average speaker where a few clips say little, which is where clips differ more than
    speakers do. Without a clip it is the average speaker.

    Attributes
    ----------
    mean : float [dimensions]
        of the average speaker
    between, within : float [dimensions]
        variance of the speakers' means; variance of a speaker's clips, averaged over speakers
    std : bool
        whether the standard deviation of a speaker is estimated as well, or is that of the average
        speaker

    References
    ----------
    Efron, Morris: Stein's estimation rule and its competitors, 1973
    """

    mean: NDArray
    between: NDArray
    within: NDArray
    std: bool

    def __post_init__(self) -> None:
        """Refuse what no speakers have: a ValueError names the attribute."""
        size = np.shape(self.mean)
        key = "speaker_statistics"
        check(f"{key}.mean", size, len(size) == 1 and size[0] > 0, "one number per dimension")
        for name, low in (("mean", -np.inf), ("between", 0), ("within", 0)):
            values = getattr(self, name)
            shape = np.shape(values)
            check(f"{key}.{name}", shape, shape == size, f"{size}, like the mean")
            least = float(np.min(values))  # NaN if one of them is
            want = "finite numbers" if low else "finite numbers of at least 0"
            fine = bool(np.isfinite(values).all()) and least >= low
            check(f"{key}.{name}", f"a least one of {least:g}", fine, want)

    @classmethod
    def fit(cls, vectors: NDArray, speakers: Sequence[str], *, std: bool) -> SpeakerStatistics:
        """Estimate the variances from vectors [clips, dimensions] and their speakers.

        A single speaker does not tell how speakers differ; a typical ratio is then taken.
        """
        groups = [vectors[rows] for rows in _rows_by_speaker(speakers).values()]
        means = np.stack([group.mean(axis=0, dtype=np.float64) for group in groups])
        within = np.mean([group.var(axis=0, dtype=np.float64) for group in groups], axis=0)
        between = _UNKNOWN * within
        if len(groups) > 1:  # the means scatter more than the speakers, as clips are few
            noise = within * np.mean([1 / len(group) for group in groups])
            between = np.maximum(means.var(axis=0, ddof=1) - noise, 0)
        return cls(means.mean(axis=0), between, within, std)

    def as_json(self) -> dict[str, Any]:
        """The attributes as lists of numbers with six digits, and whether `std` is estimated."""
        arrays = {"mean": self.mean, "between": self.between, "within": self.within}
        lists = {key: [float(f"{x:.6g}") for x in array] for key, array in arrays.items()}
        return {**lists, "std": self.std}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> SpeakerStatistics:
        """Restore what `as_json` returned.

        Raises
        ------
        ValueError
            naming the attribute that is missing, of another type, or impossible
        """
        check("speaker_statistics", type(content).__name__, isinstance(content, Mapping), "a group")
        arrays = []
        for name in ("mean", "between", "within"):
            values = content.get(name)
            fine = isinstance(values, list) and all(
                type(x) in (int, float) and abs(x) < _LARGEST for x in values
            )
            check(f"speaker_statistics.{name}", type(values).__name__, fine, "finite numbers")
            arrays.append(np.array(values, float))
        std = content.get("std")
        check("speaker_statistics.std", std, isinstance(std, bool), "true or false")
        return cls(arrays[0], arrays[1], arrays[2], bool(std))

    def estimate(
        self, *, clips: float | NDArray, mean: NDArray, variance: NDArray
    ) -> tuple[NDArray, NDArray]:
        """Estimate a speaker's mean and standard deviation, [..., dimensions] each.

        Parameters
        ----------
        clips : float, or float [..., 1]
            number of the speaker's clips, of which mean and variance are known; it may be 0, or a
            sum of weights
        mean, variance : float [..., dimensions]
            over these clips
        """
        total = self.between + self.within / np.maximum(clips, _FEWEST)
        share = np.divide(self.between, total, out=np.ones_like(total), where=total > 0)
        centre = self.mean + np.where(np.asarray(clips) > 0, share, 0) * (mean - self.mean)
        spread = np.broadcast_to(self.within, centre.shape)
        if self.std:
            spread = (clips * variance + _WEIGHT * self.within) / (clips + _WEIGHT)
        return centre, np.where(spread > 0, np.sqrt(spread), 1)

    def same_speaker(self, vector: NDArray, others: NDArray) -> float:
        """Weigh whether a clip is of the speaker of other clips, or of any speaker.

        The others count by their median, which one of another speaker hardly moves.

        Returns
        -------
        float
            log-likelihood ratio in nats, a mean over dimensions; more than 0: rather the same
        """
        known = self.between + self.within > 0
        between, within, average = self.between[known], self.within[known], self.mean[known]
        share = between / (between + within / len(others))
        centre = average + share * (np.median(others, axis=0)[known] - average)
        same, any_one = within + between * (1 - share), within + between
        ratio = np.square(vector[known] - average) / any_one + np.log(any_one)
        ratio -= np.square(vector[known] - centre) / same + np.log(same)
        return float(ratio.mean() / 2)

    def of_speaker(self, vectors: NDArray) -> tuple[NDArray, NDArray]:
        """Estimate mean and standard deviation from a speaker's clips [clips, dimensions]."""
        if not len(vectors):
            return self.estimate(clips=0, mean=self.mean, variance=self.within)
        values = vectors.astype(np.float64)
        return self.estimate(
            clips=len(values), mean=values.mean(axis=0), variance=values.var(axis=0)
        )

    def of_others(self, vectors: NDArray) -> tuple[NDArray, NDArray]:
        """Estimate both for each clip of a speaker from all others, [clips, dimensions] each."""
        values, number = vectors.astype(np.float64), len(vectors) - 1
        if not number:
            return self.of_speaker(vectors[:0])
        mean = (values.sum(axis=0) - values) / number
        square = (np.square(values).sum(axis=0) - np.square(values)) / number
        variance = np.maximum(square - np.square(mean), 0)
        return self.estimate(clips=number, mean=mean, variance=variance)


class SpeakerCalibration:
    """Vectors of clips, normalised by what is known of their speakers.

    Speakers of the training side are known by their training clips, others by their enrolment. A
    clip never serves for itself: where it is enrolment, all others of its speaker serve.

    Parameters
    ----------
    statistics : mean or mean_std
        what is known of a speaker
    """

    def __init__(self, *, statistics: str) -> None:
        fine = statistics in STATISTICS
        check("calibration.statistics", statistics, fine, f"none, {', '.join(STATISTICS)}")
        self._std = statistics == "mean_std"

    def fit(self, vectors: NDArray, speakers: Sequence[str]) -> NDArray[np.float64]:
        """Learn from the training side; return its vectors [clips, dimensions], normalised."""
        self.statistics = SpeakerStatistics.fit(vectors, speakers, std=self._std)
        self._known = {}
        result = np.empty(vectors.shape)
        for speaker, rows in _rows_by_speaker(speakers).items():
            mean, std = self.statistics.of_speaker(vectors[rows])
            self._known[speaker] = mean, std
            result[rows] = (vectors[rows] - mean) / std
        return result

    def apply(
        self,
        data: ClipData,
        clips: NDArray[np.int64],
        vectors: NDArray,
        *,
        represent: Callable[[NDArray[np.int64]], NDArray],
    ) -> NDArray[np.float64]:
        """Normalise vectors of other clips.

        Parameters
        ----------
        data : ClipData
            says whose clips they are, and which clips are enrolment
        clips : int64 [clips]
            positions in the data
        vectors : float [clips, dimensions]
        represent : callable
            makes vectors of enrolment clips, from their positions
        """
        extra = np.setdiff1d(data.enrolment, clips)
        everything, values = np.concatenate([clips, extra]), vectors
        if len(extra):
            values = np.concatenate([vectors, represent(extra)])
        serves = np.isin(everything, data.enrolment)
        result = np.empty(vectors.shape)
        for speaker, rows in _rows_by_speaker(data.voices_of(everything)).items():
            own, known = rows[rows < len(clips)], rows[serves[rows]]
            if speaker in self._known:
                mean, std = self._known[speaker]
                result[own] = (vectors[own] - mean) / std
                continue
            mean, std = self.statistics.of_speaker(values[known])
            result[own] = (vectors[own] - mean) / std
            served = known[known < len(clips)]  # those that serve themselves come first
            if len(served):
                mean, std = self.statistics.of_others(values[known])
                result[served] = (vectors[served] - mean[: len(served)]) / std[: len(served)]
        return result


def _rows_by_speaker(speakers: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """List the positions of each speaker's clips."""
    names, index = np.unique(np.asarray(speakers, dtype=str), return_inverse=True)
    return {str(name): np.flatnonzero(index == number) for number, name in enumerate(names)}
