"""What a file says of the model that it holds, checked: the file may be somebody else's."""

from __future__ import annotations

import re
import reprlib
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.audio.conditioning import conditioning

#: Sample rates of models, in Hz.
RATES_HZ = (4000, 192_000)
_MOST_LABELS, _LONGEST_LABEL = 1000, 100
_MOST_VALUES, _DEEPEST = 100_000, 20


def require(key: str, value: object, fine: bool, want: str) -> None:
    """Refuse a value, which the message shortens; see stages.settings.checks.check."""
    if not fine:
        raise ValueError(f"{key}: got {reprlib.repr(value)}, want {want}")


def check_labels(labels: Any) -> list[str]:
    """Return the labels of a model if they are two or more distinct texts.

    Raises
    ------
    ValueError
    """
    fine = (
        isinstance(labels, list)
        and 2 <= len(labels) <= _MOST_LABELS
        and all(is_text(label) for label in labels)
        and len(set(labels)) == len(labels)
    )
    want = f"a list of 2 to {_MOST_LABELS} distinct names of up to {_LONGEST_LABEL} characters"
    require("labels", labels, fine, want)
    return labels


def is_text(value: Any, *, longest: int = _LONGEST_LABEL) -> bool:
    """Tell whether a value is a short text that any terminal can print."""
    return isinstance(value, str) and 0 < len(value) <= longest and value.isprintable()


def is_number(value: Any, *, low: float, high: float) -> bool:
    """Tell whether a value is a number from `low` to `high`."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def check_audio(audio: Any) -> dict[str, Any]:
    """Pick the settings that condition a waveform; see stages.audio.conditioning.conditioning.

    Raises
    ------
    ValueError
        naming the setting that is missing or out of its range
    """
    require("audio", audio, isinstance(audio, Mapping), "a group of settings")
    chosen = conditioning(audio)
    rate, (low, high) = chosen["sample_rate"], RATES_HZ
    require("audio.sample_rate", rate, low <= rate <= high, f"{low} to {high} Hz")
    return chosen | {"sample_rate": int(rate)}


def check_settings(key: str, settings: Any) -> None:
    """Refuse a group of settings that holds anything but nested groups, lists and plain values.

    A list that holds another many times, or itself, is small in a file and endless to read.

    Raises
    ------
    ValueError
    """
    require(key, settings, isinstance(settings, dict), "a group of settings")
    waiting, count = [(settings, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        inner: list[Any] = []
        if isinstance(value, dict):
            names = all(is_text(name, longest=1000) for name in value)
            require(key, value, names, "settings that have names")
            inner = list(value.values())
        elif isinstance(value, list | tuple):
            inner = list(value)
        else:
            plain = value is None or isinstance(value, str | int | float)
            require(key, value, plain, "texts, numbers, lists and groups of these")
        count += len(inner)
        fine = count <= _MOST_VALUES and depth <= _DEEPEST
        want = f"at most {_MOST_VALUES} values, nested at most {_DEEPEST} times"
        require(key, settings, fine, want)
        waiting += [(part, depth + 1) for part in inner]


def chirp(sample_rate: int) -> NDArray[np.int16]:
    """Synthesise a second of rising sound, int16 [samples], on which a model is tried."""
    time_s = np.arange(sample_rate) / sample_rate
    phase = 2 * np.pi * (100 + sample_rate / 8 * time_s) * time_s
    return (3000 * np.sin(phase)).astype(np.int16)


@contextmanager
def explained(key: str, want: str) -> Iterator[None]:
    """Turn whatever unfit settings or weights raise into a ValueError of one line.

    An ImportError stays: it names the optional library to install.
    """
    try:
        yield
    except ImportError:
        raise
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error
    except Exception as error:
        raise ValueError(f"{key}: got {reason(error)}, want {want}") from error


def reason(error: Exception) -> str:
    """Shorten an error of a library to its kind and the first line of its message.

    onnxruntime begins with codes and a place in its own source.
    """
    line = next(iter(str(error).strip().splitlines()), "")
    line = re.sub(
        r"^\[ONNXRuntimeError\].* : |(?<!\S)/\S*onnxruntime\S+:\d+ .*?\) (?=[A-Z])", "", line
    )
    return textwrap.shorten(f"{type(error).__name__}: {line}".removesuffix(": "), 300)
