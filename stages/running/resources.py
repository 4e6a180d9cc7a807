"""Memory and disk space of this machine, checked before a stage needs them."""

from __future__ import annotations

import resource
import shutil
import sys
from pathlib import Path

import psutil


def free_memory() -> int:
    """Bytes of memory that this machine can give without swapping."""
    return psutil.virtual_memory().available


def peak_memory() -> int:
    """Largest amount of memory that this process has held so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def check_memory(subject: str, *, need: int) -> None:
    """Refuse a task that does not fit into free memory.

    Parameters
    ----------
    subject : str
        start of the message: the setting, its value, the wanted value, and the task
    need : int
        bytes that the task holds at a time

    Raises
    ------
    ValueError
        if fewer bytes are free, stating both sizes
    """
    if need > (free := free_memory()):
        raise ValueError(f"{subject} takes {_gb(need)} of memory, {_gb(free)} are free")


def check_disk(subject: str, *, need: int, folder: Path) -> None:
    """Refuse an output that does not fit on the disk of a folder.

    Parameters
    ----------
    subject : str
        see `check_memory`
    need : int
        bytes
    folder : Path
        an existing folder

    Raises
    ------
    ValueError
        if fewer bytes are free, stating both sizes
    """
    free = shutil.disk_usage(folder).free
    if need > free:
        raise ValueError(f"{subject} takes {_gb(need)} on disk, {_gb(free)} are free")


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
