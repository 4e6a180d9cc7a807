"""Writing files so that none ever stands half-written under its final name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def complete(path: str | Path) -> Iterator[Path]:
    """Give a name beside `path` to write a file or folder to; rename it when the block ends.

    If the block raises, what was written is removed and `path` stays as it was. A folder of that
    name is replaced as a whole.

    Parameters
    ----------
    path : path
        the final name; its parent folder is made if need be

    Yields
    ------
    Path
        the name to write to; does not exist yet
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part-{path.name}")
    _remove(part)  # left by a run that was killed
    try:
        yield part
        if path.is_dir():
            _remove(path)
        part.replace(path)
    finally:
        _remove(part)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
