"""Progress of training jobs in other processes: a file per job, a byte per part of an epoch."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

_PARTS = 20  # of an epoch, which may take minutes


def epochs_done(file: Path) -> int:
    """Count the whole epochs that a job has told the main process of."""
    return file.stat().st_size // _PARTS


def tick(file: Path, epochs: float, *, main: int | None) -> None:
    """Tell the main process how far a job has come.

    Parameters
    ----------
    file : Path
        of the job, in the folder that `progress_bar` watches
    epochs : float
        finished, the present one in parts; nothing is told unless it is a part more than before
    main : int or None
        process id of the main process if it runs on this machine; None on a cluster

    Raises
    ------
    SystemExit
        if the main process has ended, which leaves the folder behind if it was killed
    FileNotFoundError
        if the folder is gone, as nothing waits for the job any more
    """
    if main is not None and main not in (os.getpid(), os.getppid()):
        raise SystemExit("train: the main process has ended")
    size = file.stat().st_size if file.is_file() else 0
    if (more := int(epochs * _PARTS) - size) > 0:
        with open(file, "ab") as stream:
            stream.write(b"." * more)


@contextmanager
def progress_bar(folder: Path, *, total: int) -> Iterator[None]:
    """Show the finished epochs of all jobs and the time left, if the output is a terminal."""
    done = threading.Event()
    form = "{l_bar}{bar}| {n:.1f}/{total:g} [{elapsed}<{remaining}, {rate_fmt}]"
    with tqdm(total=total, desc="train", unit="epoch", disable=None, bar_format=form) as bar:

        def watch() -> None:
            while not done.wait(1):
                parts = sum(file.stat().st_size for file in folder.iterdir())
                bar.update(parts / _PARTS - bar.n)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
