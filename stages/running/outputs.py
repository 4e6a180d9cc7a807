"""Outputs that appear under their final name only when they are complete, one writer at a time."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO

from stages.running.resources import full_disk_named

try:
    import fcntl
except ImportError:  # Windows, where one process at a time is up to the user
    fcntl = None  # type: ignore[assignment]

_WAIT_S = 10  # for another writer: one whose parent was killed ends sooner
_PREFIX = ".part-"


@contextmanager
def complete(path: str | Path) -> Iterator[Path]:
    """Write a file or folder under a temporary name, and rename it when the block ends.

    If the block raises, the temporary output is removed and `path` stays as it was. An existing
    folder of that name is replaced as a whole. See `locked` for the errors.

    Parameters
    ----------
    path : path
        the final name; missing parent folders are made

    Yields
    ------
    Path
        the name to write to; does not exist yet
    """
    path = Path(path)
    with locked(path) as folder:
        part = folder / path.name
        yield part
        if path.is_dir():
            path.rename(folder / f"{path.name}.old")
        part.replace(path)


def replace_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Give a folder these files and no others, so that each name always holds a whole file.

    All files are written before the first old one is replaced.
    """
    with ExitStack() as stack:
        for name, content in files.items():
            stack.enter_context(complete(folder / name)).write_bytes(content)
    for path in folder.iterdir():
        if path.name not in files and not path.name.startswith(_PREFIX):
            _remove(path)


@contextmanager
def locked(path: Path) -> Iterator[Path]:
    """Hold the right to write a path, with an empty folder beside it for what is unfinished.

    The operating system releases the lock when its process ends, however it ends. What a killed
    process has left is removed, here and for other outputs in the same folder.

    Parameters
    ----------
    path : Path
        an output; missing parent folders are made

    Yields
    ------
    Path
        the folder, which is removed with its content when the block ends

    Raises
    ------
    ValueError
        naming the process that still writes this output after ten seconds, or the full disk
    """
    with full_disk_named(path):
        _sweep(path.parent)
        folder = temporary(path)
        begun = time.monotonic()
        while (lock := _lock(folder)) is None:
            if time.monotonic() - begun > _WAIT_S:
                raise ValueError(
                    f"{path}: got another writer, {_owner(folder)}, want it to end first"
                )
            time.sleep(0.05)
        with lock:
            try:
                _clear(folder)
                lock.truncate(0)
                lock.write(f"process {os.getpid()} ({shlex.join(sys.orig_argv)})")
                lock.flush()
                with full_disk_named(path):  # before the unfinished output makes room again
                    yield folder
            finally:
                _discard(folder)


@contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Hold a folder of finished parts, which is removed when the block ends and stays if it raises.

    See `locked` for the errors.
    """
    try:
        with locked(folder):
            yield
            shutil.rmtree(folder)
    finally:
        with suppress(OSError):  # unless parts of this run or another wait there to be gone on with
            folder.parent.rmdir()


def _lock_file(folder: Path) -> Path:
    return folder / f"{folder.name.removeprefix(_PREFIX)}.lock"


def _lock(folder: Path) -> IO[str] | None:
    """Make a folder and lock it; None if another process holds it, or has just removed it."""
    if folder.is_file():  # left by a version that had no lock
        folder.unlink(missing_ok=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(_lock_file(folder), "a+", encoding="utf-8")  # noqa: SIM115 (the caller closes)
    except FileNotFoundError:
        return None
    if fcntl is None:
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file.fileno()).st_ino == _lock_file(folder).stat().st_ino:
            return file
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:  # a file system without locks
        return file
    file.close()
    return None


def _owner(folder: Path) -> str:
    try:
        return _lock_file(folder).read_text(encoding="utf-8") or "a process that has just begun"
    except FileNotFoundError:
        return "a process that has just ended"


@cache
def _sweep(parent: Path) -> None:
    """Remove what killed processes have left in a folder; once, as listing it takes time."""
    for folder in parent.glob(f"{_PREFIX}*"):
        if fcntl and _lock_file(folder).is_file() and (lock := _lock(folder)):
            with lock:
                _discard(folder)


def _discard(folder: Path) -> None:
    """Remove a folder that this process has locked."""
    _clear(folder)
    _lock_file(folder).unlink(missing_ok=True)
    with suppress(OSError):  # another process may have begun to wait in it
        folder.rmdir()


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path != _lock_file(folder):
            _remove(path)


def temporary(path: Path) -> Path:
    """Return the name under which `complete` writes an output."""
    return path.with_name(f"{_PREFIX}{path.name}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
