"""The one form of a message about a setting that is out of its range."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager


def check(setting: str, value: object, fine: bool, want: str) -> None:
    """Refuse the value of a setting.

    Parameters
    ----------
    setting : str
        its name in params.yaml, such as "train.lr"
    value : object
        what it is set to
    fine : bool
        whether the value can be used
    want : str
        what can be used, in words

    Raises
    ------
    ValueError
        naming the setting, its value and what is wanted, unless the value is fine
    """
    if not fine:
        raise ValueError(f"{setting}: got {value!r}, want {want}")


def check_range(setting: str, value: float, *, low: float, high: float = math.inf) -> None:
    """Refuse a number below `low` or above `high`; both ends are fine. See `check`."""
    want = f"at least {low}" if high == math.inf else f"{low} to {high}"
    check(setting, value, low <= value <= high, want)


@contextmanager
def named(thing: object) -> Iterator[None]:
    """Put the name of a file or a setting before the message of a ValueError."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{thing}: {error}") from error
