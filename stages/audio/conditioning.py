"""The settings of the `audio` group that decide what a clip's samples are: chosen and checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

#: What any waveform is conditioned with. A checkpoint keeps them: a model is to answer for what it
#: was trained on.
CONDITIONING = (
    "sample_rate",
    "denoise",
    "trim_db",
    "level",
    "level_db",
    "min_duration_s",
    "min_peak",
)
#: How long recordings are cut into clips, which is a matter of training alone.
SEGMENTS = ("segment_s", "segment_overlap_s")


def conditioning(audio: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the settings of CONDITIONING.

    Parameters
    ----------
    audio : mapping
        the group, as in params.yaml or a checkpoint; may hold more

    Returns
    -------
    dict
        for app.windows.read_windows

    Raises
    ------
    ValueError
        naming the setting that is missing or out of its range
    """
    rate = "a whole number over 0"
    _check(audio, "sample_rate", rate, lambda v: _is_number(v, low=1) and isinstance(v, int))
    _check(audio, "denoise", "0 to 1, or null", lambda v: v is None or _is_number(v, high=1))
    _check(audio, "trim_db", "over 0, or null", lambda v: v is None or _is_number(v) and v > 0)
    _check(audio, "level", "rms, peak or none", lambda v: v in ("rms", "peak", "none"))
    # In 16 bits, what is softer is lost.
    _check(audio, "level_db", "-60 to 0", lambda v: _is_number(v, low=-60, high=0))
    _check(audio, "min_duration_s", "at least 0", _is_number)
    _check(audio, "min_peak", "at least 0 and less than 1", lambda v: _is_number(v) and v < 1)
    return {name: audio[name] for name in CONDITIONING}


def segmenting(audio: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the settings of SEGMENTS.

    Parameters
    ----------
    audio : mapping
        the group, whose CONDITIONING has been checked

    Returns
    -------
    dict
        for stages.audio.segments.cut

    Raises
    ------
    ValueError
        naming the setting that is missing or out of its range
    """
    rate = audio["sample_rate"]
    least = 2 * audio["min_duration_s"]  # the last segment of a recording may be half as long
    _check(
        audio,
        "segment_s",
        f"over 0 and at least {least:g} (twice min_duration_s), or null",
        lambda v: v is None or _is_number(v, low=least) and round(v * rate) > 0,
    )
    length = audio["segment_s"]
    if length is None:
        wanted = "null, as segment_s is null"
    else:
        wanted = f"at least 0 and less than {length} (segment_s), or null"
    _check(
        audio,
        "segment_overlap_s",
        wanted,
        lambda v: (
            v is None
            or length is not None
            and _is_number(v)
            and round(v * rate) < round(length * rate)
        ),
    )
    return {name: audio[name] for name in SEGMENTS}


def _is_number(value: Any, *, low: float = 0, high: float = math.inf) -> bool:
    """Whether a setting is a finite number from `low` to `high`."""
    kind = isinstance(value, int | float) and not isinstance(value, bool)
    return kind and low <= value <= high and math.isfinite(value)


def _check(audio: Mapping[str, Any], name: str, wanted: str, good: Callable[[Any], bool]) -> None:
    """Raise a ValueError unless a setting is there and good."""
    got = repr(audio[name]) if name in audio else "nothing"
    if name not in audio or not good(audio[name]):
        raise ValueError(f"audio.{name}: got {got}, want {wanted}")
