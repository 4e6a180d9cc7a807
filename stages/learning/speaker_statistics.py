"""What is known of a speaker's usual voice, and vectors of clips with that taken off."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.settings.checks import check

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
#: Parts into which the training voices are cut to see how well a clip tells of voices not learnt.
_BLOCKS = 5
_CLIPS_PER_VOICE = 8  # from which it is learnt how a clip tells of its voice
_PENALTY = 0.1  # of that regression, in mean eigenvalues; chosen on validation speakers


@dataclass(frozen=True)
class SpeakerStatistics:
    """Speakers of the training side, from whom a new speaker is estimated.

    The mean of a new speaker is estimated by empirical Bayes: speakers are taken to be normally
    distributed around a first guess, and clips around their speaker. So the estimate stays near the
    guess where a few clips say little, which is where clips differ more than speakers do.

    The first guess lies on a line through the average speaker, in the direction in which the
    training speakers differ most, such as that from low voices to high ones. All values of a clip
    together tell its place on the line, even where each by itself says more of the emotion. Without
    a clip the estimate is the average speaker.

    Attributes
    ----------
    mean : float [dimensions]
        of the average speaker
    between, within : float [dimensions]
        variance of the speakers' means; variance of a speaker's clips, averaged over speakers
    axis, place : float [dimensions]
        direction of the line; weights of a clip's distances from the average speaker, whose sum is
        its place on the line. Zeros: the first guess is the average speaker
    around : float [dimensions]
        variance of the speakers' means around the first guess
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
    axis: NDArray
    place: NDArray
    around: NDArray
    std: bool

    def __post_init__(self) -> None:
        """Refuse what no speakers have: a ValueError names the attribute."""
        size = np.shape(self.mean)
        key = "speaker_statistics"
        check(f"{key}.mean", size, len(size) == 1 and size[0] > 0, "one number per dimension")
        for name, values in self.arrays.items():
            shape = np.shape(values)
            check(f"{key}.{name}", shape, shape == size, f"{size}, like the mean")
            least = float(np.min(values))  # NaN if one of them is
            variance = name in ("between", "within", "around")
            want = "finite numbers of at least 0" if variance else "finite numbers"
            fine = bool(np.isfinite(values).all()) and not (variance and least < 0)
            check(f"{key}.{name}", f"a least one of {least:g}", fine, want)

    @property
    def arrays(self) -> dict[str, NDArray]:
        """The attributes with one number per dimension, by name."""
        return {key: value for key, value in vars(self).items() if key != "std"}

    @classmethod
    def fit(cls, vectors: NDArray, speakers: Sequence[str], *, std: bool) -> SpeakerStatistics:
        """Estimate the variances from vectors [clips, dimensions] and their speakers.

        A single speaker does not tell how speakers differ; a typical ratio is then taken. Few
        speakers do not tell in which direction they differ; the average speaker is then the guess.
        """
        groups = [vectors[rows] for rows in _rows_by_speaker(speakers).values()]
        means = np.stack([group.mean(axis=0, dtype=np.float64) for group in groups])
        within = np.mean([group.var(axis=0, dtype=np.float64) for group in groups], axis=0)
        noise = within * np.mean([1 / len(group) for group in groups])
        between, mean = _UNKNOWN * within, means.mean(axis=0)
        if len(groups) > 1:  # the means scatter more than the speakers, as clips are few
            between = np.maximum(means.var(axis=0, ddof=1) - noise, 0)
        axis, place, around = np.zeros_like(mean), np.zeros_like(mean), between
        if len(groups) >= _BLOCKS:
            spread = np.sqrt(between + within)
            scale = np.where(spread > 0, spread, 1)
            random = np.random.default_rng(0)
            some = [random.permutation(group)[:_CLIPS_PER_VOICE] for group in groups]
            axis, place, error = _learn_line(
                [(clips - mean) / scale for clips in some], (means - mean) / scale
            )
            axis, place = axis * scale, place / scale
            around = np.maximum(error * np.square(scale) - noise, 0)
        return cls(mean, between, within, axis, place, around, std)

    def as_json(self) -> dict[str, Any]:
        """The attributes as lists of numbers with six digits, and whether `std` is estimated."""
        lists = {key: [float(f"{x:.6g}") for x in array] for key, array in self.arrays.items()}
        return {**lists, "std": self.std}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> SpeakerStatistics:
        """Restore what `as_json` returned; before there was a line, it had no `axis` and the like.

        Raises
        ------
        ValueError
            naming the attribute that is missing, of another type, or impossible
        """
        check("speaker_statistics", type(content).__name__, isinstance(content, Mapping), "a group")

        def numbers(name: str) -> NDArray:
            values = content.get(name)
            fine = isinstance(values, list) and all(
                type(x) in (int, float) and abs(x) < _LARGEST for x in values
            )
            check(f"speaker_statistics.{name}", type(values).__name__, fine, "finite numbers")
            return np.array(values, float)

        mean, between, within = map(numbers, ("mean", "between", "within"))
        axis, place, around = np.zeros_like(mean), np.zeros_like(mean), between
        if "axis" in content:
            axis, place, around = map(numbers, ("axis", "place", "around"))
        std = content.get("std")
        check("speaker_statistics.std", std, isinstance(std, bool), "true or false")
        return cls(mean, between, within, axis, place, around, bool(std))

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
        total = self.around + self.within / np.maximum(clips, _FEWEST)
        share = np.divide(self.around, total, out=np.ones_like(total), where=total > 0)
        guess = self.mean + ((mean - self.mean) @ self.place)[..., None] * self.axis
        known = np.asarray(clips) > 0
        centre = np.where(known, guess + share * (mean - guess), self.mean)
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


def _learn_line(
    clips: Sequence[NDArray], means: NDArray
) -> tuple[NDArray, NDArray, NDArray[np.float64]]:
    """Learn in which direction speakers differ most, and how clips tell a speaker's place there.

    Parameters
    ----------
    clips : sequence of float [clips, dimensions]
        of each speaker, in the order of their names
    means : float [speakers, dimensions]

    Returns
    -------
    axis, place : float [dimensions]
        see SpeakerStatistics
    error : float [dimensions]
        mean squared error for speakers who were left out. They are left out by their neighbours in
        the alphabet, as the training variants of a speaker have names that begin alike
    """
    # Takes a second to import, which applying the statistics is spared.
    from sklearn.linear_model import Ridge

    def learn(chosen: NDArray) -> tuple[NDArray, NDArray]:
        axis = np.linalg.svd(means[chosen], full_matrices=False)[2][0]
        heard = np.concatenate([clips[speaker] for speaker in chosen])
        places = np.repeat(means[chosen] @ axis, [len(clips[speaker]) for speaker in chosen])
        penalty = _PENALTY * np.square(heard).sum() / len(heard) or 1.0  # 0 if no clips differ
        ridge = Ridge(alpha=penalty, fit_intercept=False, solver="cholesky")
        return axis, ridge.fit(heard, places).coef_

    everyone, errors = np.arange(len(clips)), []
    for left_out in np.array_split(everyone, _BLOCKS):
        axis, place = learn(np.setdiff1d(everyone, left_out))
        for speaker in left_out:
            guesses = (clips[speaker] @ place)[:, None] * axis
            errors.append(np.square(means[speaker] - guesses).mean(axis=0))
    return *learn(everyone), np.mean(errors, axis=0)


def _rows_by_speaker(speakers: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """List the positions of each speaker's clips."""
    names, index = np.unique(np.asarray(speakers, dtype=str), return_inverse=True)
    return {str(name): np.flatnonzero(index == number) for number, name in enumerate(names)}
