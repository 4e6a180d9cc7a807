"""Which part of a recording a clip keeps, and how loud it becomes; the settings that decide it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stages.audio.sound import Sound
from stages.settings.checks import check

#: Settings of the group `audio` that condition any waveform. A checkpoint keeps them, because a
#: model must hear what it was trained on.
CONDITIONING = (
    "sample_rate",
    "denoise",
    "trim_db",
    "level",
    "level_db",
    "min_duration_s",
    "min_peak",
)
#: Settings that cut long recordings into clips. They concern training alone.
SEGMENTS = ("segment_s", "segment_overlap_s")


def conditioning(audio: Mapping[str, Any]) -> dict[str, Any]:
    """Pick and check the settings of CONDITIONING.

    Parameters
    ----------
    audio : mapping
        the group `audio` of params.yaml or of a checkpoint; may hold more

    Raises
    ------
    ValueError
        naming the setting that is missing or out of its range
    """
    chosen = _pick(audio, CONDITIONING)
    rate, level = chosen["sample_rate"], chosen["level"]
    for name, fine, want in (
        ("sample_rate", _is_number(rate, low=1) and rate == int(rate), "a whole number over 0"),
        ("denoise", _is_null_or_number(chosen["denoise"], high=1), "0 to 1, or null"),
        ("trim_db", chosen["trim_db"] != 0 and _is_null_or_number(chosen["trim_db"]), _OVER_0),
        ("level", level in ("rms", "peak", "none"), "rms, peak or none"),
        # 16 bits lose what is softer.
        ("level_db", _is_number(chosen["level_db"], low=-60, high=0), "-60 to 0"),
        ("min_duration_s", _is_number(chosen["min_duration_s"]), "at least 0"),
        (
            "min_peak",
            _is_number(chosen["min_peak"]) and chosen["min_peak"] < 1,
            "at least 0 and less than 1",
        ),
    ):
        check(f"audio.{name}", chosen[name], fine, want)
    return chosen


def segmenting(audio: Mapping[str, Any]) -> dict[str, Any]:
    """Pick and check the settings of SEGMENTS.

    Parameters
    ----------
    audio : mapping
        the group `audio`, whose CONDITIONING has been checked

    Raises
    ------
    ValueError
        naming the setting that is missing or out of its range
    """
    chosen = _pick(audio, SEGMENTS)
    length, overlap = chosen["segment_s"], chosen["segment_overlap_s"]
    rate = audio["sample_rate"]
    least = 2 * audio["min_duration_s"]  # the last segment of a recording may be half as long
    check(
        "audio.segment_s",
        length,
        length is None or (_is_number(length, low=least) and round(length * rate) > 0),
        f"over 0 and at least {least:g} (twice min_duration_s), or null",
    )
    if length is None:
        check("audio.segment_overlap_s", overlap, overlap is None, "null, as segment_s is null")
    check(
        "audio.segment_overlap_s",
        overlap,
        overlap is None or (_is_number(overlap) and round(overlap * rate) < round(length * rate)),
        f"at least 0 and less than {length} (segment_s), or null",
    )
    return chosen


def _pick(audio: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    if missing := [name for name in names if name not in audio]:
        raise ValueError(f"audio.{missing[0]}: got nothing, want a value")
    return {name: audio[name] for name in names}


def _is_number(value: Any, *, low: float = 0, high: float = math.inf) -> bool:
    """Whether a setting is a finite number from `low` to `high`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and low <= value <= high and math.isfinite(value)


def _is_null_or_number(value: Any, *, high: float = math.inf) -> bool:
    return value is None or _is_number(value, high=high)


_OVER_0 = "over 0, or null"


@dataclass(frozen=True)
class Kept:
    """The part of a sound that becomes a clip.

    Attributes
    ----------
    first, stop : int
        its first sample, and the one after its last
    gain : float
        what its samples are multiplied by
    peak, duration_s : float
        largest sample of the whole sound; length of the part, 0 if the sound is silent
    excluded : str
        why nothing is kept, or ""
    """

    first: int = 0
    stop: int = 0
    gain: float = 0.0
    peak: float = 0.0
    duration_s: float = 0.0
    excluded: str = ""


def keep(
    sound: Sound,
    *,
    sample_rate: int,
    trim_db: float | None,
    level: Literal["rms", "peak", "none"],
    level_db: float,
    min_duration_s: float,
    min_peak: float,
) -> Kept:
    """Trim a sound and find the gain that levels what is left.

    Parameters
    ----------
    sound : Sound
        all of its samples filled in
    sample_rate : int
        in Hz
    trim_db : float or None
        both ends are cut up to the first stretch of 20 ms that is at most this much quieter than
        the loudest one; None keeps them
    level : rms, peak or none
        which level to set; none keeps the recording's own
    level_db : float
        wanted level in dB relative to full scale; the gain is held back where a peak would clip
    min_duration_s, min_peak : float
        a shorter part, or a sound that is not louder, is excluded
    """
    peak = sound.peak()
    if reason := silent(peak, min_peak=min_peak):
        return Kept(peak=peak, excluded=reason)
    first, stop = sound.trimmed(trim_db)
    duration_s = (stop - first) / sample_rate
    if reason := short(duration_s, min_duration_s=min_duration_s, part=" without its quiet ends"):
        return Kept(peak=peak, duration_s=duration_s, excluded=reason)
    gain = sound.gain(first, stop, level=level, level_db=level_db)
    return Kept(first, stop, gain, peak, duration_s)


def silent(peak: float, *, min_peak: float) -> str:
    """Say why samples with this peak are excluded, or "" if they are not."""
    return f"silent: peak {peak:.4f}, want over {min_peak}" if peak <= min_peak else ""


def short(duration_s: float, *, min_duration_s: float, part: str = "") -> str:
    """Say why a recording, or a named part of it, is excluded, or "" if it is not."""
    if duration_s >= min_duration_s:
        return ""
    return f"too short{part}: {duration_s:.3f} s, want at least {min_duration_s} s"
