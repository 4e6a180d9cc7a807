"""How a voice usually sounds, learnt from unlabelled recordings, kept in a small file, and used.

A profile holds a few hundred numbers and no audio. They are personal data all the same: they say
whose voice it is as a photograph says whose face it is. Keep a profile no longer than needed, and
only with the speaker's consent.
"""

from __future__ import annotations

import hashlib
import json
import math
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.models import Model
from app.windows import Tick, no_tick, read_windows
from stages.learning.model_facts import require
from stages.learning.speaker_statistics import SpeakerStatistics
from stages.running.outputs import complete

#: Longest window of a recording, in seconds; longer recordings are cut into equal ones.
WINDOW_S = 10
#: Evidence against the same voice, in nats per number of the profile, above which a recording is
#: reported: on RAVDESS and EMO-DB, 4 % of a speaker's own clips and half of other speakers'.
_OTHER_VOICE = 0.15
_ENOUGH = 50
_MAX_BYTES = 10_000_000  # of a profile


@dataclass
class Profile:
    """Sums over vectors of one voice.

    Attributes
    ----------
    model : str
        digest of the model's statistics; a profile fits no other model
    clips : float
        number of vectors, or the sum of their weights
    mean, square : float64 [dimensions]
        of the vectors, and of their squares
    """

    model: str
    clips: float
    mean: NDArray[np.float64]
    square: NDArray[np.float64]

    @classmethod
    def empty(cls, model: Model) -> Profile:
        """Return a profile of a voice that was never heard.

        Raises
        ------
        ValueError
            if the model is not calibrated to speakers
        """
        zeros = np.zeros_like(_statistics(model).mean)
        return cls(_digest(model), 0.0, zeros, zeros.copy())

    def add(self, vector: NDArray, *, weight: float = 1.0, keep: float = 1.0) -> None:
        """Include a vector [dimensions]; the others then count for a fraction `keep` of before."""
        self.clips = keep * self.clips + weight
        self.mean = self.mean + weight / self.clips * (vector - self.mean)
        self.square = self.square + weight / self.clips * (np.square(vector) - self.square)

    def speaker(self, model: Model) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Estimate the mean and standard deviation of the voice, [dimensions] each."""
        variance = np.maximum(self.square - np.square(self.mean), 0)
        return _statistics(model).estimate(clips=self.clips, mean=self.mean, variance=variance)

    def save(self, path: str | Path) -> None:
        """Write the profile as JSON.

        Raises
        ------
        ValueError
            if there is such a file
        """
        if Path(path).exists():
            raise ValueError(f"{path}: already exists, want another name")
        lists = {key: [float(f"{x:.7g}") for x in getattr(self, key)] for key in ("mean", "square")}
        with complete(path) as part:
            part.write_text(json.dumps({"model": self.model, "clips": self.clips, **lists}) + "\n")

    @classmethod
    def load(cls, path: str | Path, *, model: Model) -> Profile:
        """Read a profile.

        Raises
        ------
        FileNotFoundError
            if there is no such file
        ValueError
            if the file holds no profile, or that of another model
        """
        if not Path(path).exists():
            raise FileNotFoundError(f"{path}: no such file; --speaker makes it")
        try:
            profile = cls._read(Path(path))
        except (ValueError, KeyError, TypeError, OSError, RecursionError, OverflowError) as error:
            raise ValueError(f"{path}: not a profile of a voice, want one by --speaker") from error
        if profile.model != _digest(model):
            got = reprlib.repr(profile.model)
            raise ValueError(
                f"{path}: is of another model ({got}), want one of this model "
                f"({_digest(model)}); make it again with --speaker"
            )
        want = _statistics(model).mean.shape
        for key in ("mean", "square"):
            values = getattr(profile, key)
            fine = values.shape == want and bool(np.isfinite(values).all())
            require(f"{path}: {key}", values.tolist(), fine, f"{want[0]} finite numbers")
        require(f"{path}: clips", profile.clips, 0 <= profile.clips < math.inf, "at least 0")
        return profile

    @classmethod
    def _read(cls, path: Path) -> Profile:
        """Read what `save` wrote; an error of any kind says that it did not write it."""
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            raise ValueError
        content = json.loads(path.read_text(encoding="utf-8"))
        arrays = [np.array(content[key], dtype=np.float64) for key in ("mean", "square")]
        return cls(str(content["model"]), float(content["clips"]), *arrays)


def enrol(
    model: Model, recordings: Iterable[tuple[str, str, str]], *, tick: Tick = no_tick
) -> tuple[Profile, list[str]]:
    """Learn how a voice usually sounds from recordings, whose emotions need not be known.

    Parameters
    ----------
    model : Model
    recordings : iterable of (str, str, str)
        name and path of each, and why it cannot be used, or "". A path is read before the next one
        is asked for
    tick : callable
        see app.windows.Tick

    Returns
    -------
    Profile
    list of str
        which recordings could not be used, or seem to be of another voice than the others, and why

    Raises
    ------
    ValueError
        if the model is not calibrated to speakers, or no recording can be used
    """
    profile, messages = Profile.empty(model), []
    heard: list[tuple[str, NDArray[np.float64]]] = []
    for name, path, fault in recordings:
        try:
            if fault:
                raise ValueError(fault)
            windows = read_windows(path, window_s=WINDOW_S, tick=tick, **model.audio)
            heard += [(name, model.represent(w.samples)) for w in windows if len(w.samples)]
        except ValueError as error:
            messages.append(f"{name}: not used: {error}")
    if not heard:
        raise ValueError("\n".join([*messages, "--speaker: got no recording that can be used"]))
    vectors = np.stack([vector for _, vector in heard])
    for number, (name, vector) in enumerate(heard):
        profile.add(vector)
        # Some of the others are enough, and keep the cost of many recordings linear.
        others = vectors[[n for n in range(min(len(heard), _ENOUGH)) if n != number]]
        if len(others) and _statistics(model).same_speaker(vector, others) < -_OTHER_VOICE:
            messages.append(f"{name}: sounds like another voice than the others")
    return profile, list(dict.fromkeys(messages))


def _statistics(model: Model) -> SpeakerStatistics:
    if model.statistics is None:
        raise ValueError(
            "--speaker, --profile: got a model that is not calibrated to speakers, want one that "
            "was trained with -S calibration=speaker"
        )
    return model.statistics


def _digest(model: Model) -> str:
    """Identify the numbers that vectors are compared with, and the rate of the audio.

    What else is known of the speakers would make profiles of earlier versions unusable.
    """
    known = _statistics(model).as_json()
    numbers = {key: known[key] for key in ("mean", "between", "within", "std")}
    content = json.dumps([numbers, model.audio["sample_rate"]])
    return hashlib.sha256(content.encode()).hexdigest()[:16]
