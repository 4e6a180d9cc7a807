"""Memory and disk space of this machine, checked before a stage needs them."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger(__name__)
_FULL = 1 << 20  # a disk with less room than this is full
#: Parameters of glibc's mallopt: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD; and their value, in bytes.
_KEPT, _KEPT_BYTES = (-1, -3), 1 << 30


def free_memory() -> int:
    """Bytes of memory that this machine can give without swapping."""
    import psutil  # not installed with the app alone

    return psutil.virtual_memory().available


def peak_memory() -> int:
    """Largest amount of memory that this process has held so far, in bytes."""
    import resource  # not part of Python on Windows, where the app runs too

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Have the C library keep what a task frees, as each step of a training needs it again.

    A worker that Dask's nanny has started gives it back to the system at once, unlike any other
    process, and then trains at less than half the speed. In the end, all of it goes back: joblib
    takes what a worker holds between two tasks for a leak. Other C libraries are left as they are.
    """
    elsewhere = OSError, AttributeError, TypeError
    with suppress(*elsewhere):
        for parameter in _KEPT:
            ctypes.CDLL(None).mallopt(parameter, _KEPT_BYTES)
    try:
        yield
    finally:
        with suppress(*elsewhere):
            ctypes.CDLL(None).malloc_trim(0)


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
    """Refuse an output that does not fit on the disk of a folder; log its size for debugging.

    DVC copies what a stage has written to its cache, unless the disk can share blocks as that of
    macOS does. So in a stage that DVC runs, the output counts twice.

    Parameters
    ----------
    subject : str
        see `check_memory`
    need : int
        bytes
    folder : Path
        that will hold the output; it may not exist yet

    Raises
    ------
    ValueError
        if fewer bytes are free, stating both sizes and the folder
    """
    log.debug("%s takes %d bytes on disk", subject, need)
    copied = "DVC_STAGE" in os.environ and sys.platform != "darwin"
    folder, free = _free_disk(folder)
    if need * (1 + copied) > free:
        cache = ", and as much in DVC's cache" if copied else ""
        raise ValueError(
            f"{subject} takes {_size(need)} on disk{cache}; {_size(free)} are free in {folder}"
        )


@contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Explain an error that a full disk has caused, which libraries report in many ways.

    Parameters
    ----------
    path : Path
        the output

    Raises
    ------
    ValueError
        naming the path, what is free and where; other errors stay as they are
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        number = getattr(error, "errno", None)
        folder, free = _free_disk(path)
        # Some libraries give no number: soundfile, torch.save and numpy.save are among them.
        if number in (errno.ENOSPC, errno.EDQUOT) or (number is None and free < _FULL):
            raise ValueError(
                f"{path}: the disk became full: {_size(free)} are free in {folder}, want more; "
                f"nothing unfinished was kept ({error})"
            ) from error
        raise


def _free_disk(path: Path) -> tuple[Path, int]:
    """Find the folder that holds a path, or will hold it, and the bytes that are free there."""
    folder = path.absolute()
    while not folder.is_dir():
        folder = folder.parent
    return folder, shutil.disk_usage(folder).free


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size < 1e9 else _gb(size)


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
