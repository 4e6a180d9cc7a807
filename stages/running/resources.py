"""Whether memory and disk have room for what is to come: said before, not found out halfway."""

from __future__ import annotations

import resource
import shutil
import sys
from pathlib import Path

import psutil

_UNASKED = 1 << 28  # bytes; to ask what is free takes longer than most of what takes less


def free_memory() -> int:
    """Bytes of memory that this machine can give without swapping."""
    return psutil.virtual_memory().available


def peak_memory() -> int:
    """Bytes of memory that this process has had at most."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def check_memory(what: str, *, need: int) -> None:
    """Refuse what memory does not hold.

    Parameters
    ----------
    what : str
        begins the message: the setting, what it got and what it wanted, and what takes the room
    need : int
        bytes at a time

    Raises
    ------
    ValueError
        adding both sizes
    """
    if need > _UNASKED and need > (free := free_memory()):
        raise ValueError(f"{what} takes {_gb(need)} of memory, {_gb(free)} are free")


def check_disk(what: str, *, need: int, folder: Path) -> None:
    """Refuse what does not fit on the disk of a folder.

    Parameters
    ----------
    what : str
        see `check_memory`
    need : int
        bytes
    folder : Path
        there already

    Raises
    ------
    ValueError
        adding both sizes
    """
    free = shutil.disk_usage(folder).free
    if need > free:
        raise ValueError(f"{what} takes {_gb(need)} on disk, {_gb(free)} are free")


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
