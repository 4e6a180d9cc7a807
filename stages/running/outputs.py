"""Outputs that appear under their final name only when they are complete."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def complete(path: str | Path) -> Iterator[Path]:
    """Write a file or folder under a temporary name, and rename it when the block ends.

    If the block raises, the temporary output is removed and `path` stays as it was. An existing
    folder of that name is replaced as a whole.

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
    path.parent.mkdir(parents=True, exist_ok=True)
    part = temporary(path)
    _remove(part)  # left by a run that was killed
    try:
        yield part
        if path.is_dir():
            _remove(path)
        part.replace(path)
    finally:
        _remove(part)


def temporary(path: Path) -> Path:
    """Return the name under which `complete` writes an output."""
    return path.with_name(f".part-{path.name}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
