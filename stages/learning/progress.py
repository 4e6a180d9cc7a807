"""Progress of training jobs in other processes: a file per job, with one byte per epoch."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm


def tick(file: Path, epochs: int, *, main: int | None) -> None:
    """Tell the main process that a job has finished more epochs.

    Parameters
    ----------
    file : Path
        of the job, in the folder that `progress_bar` watches
    epochs : int
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
    with open(file, "ab") as stream:
        stream.write(b"." * epochs)


@contextmanager
def progress_bar(folder: Path, *, total: int) -> Iterator[None]:
    """Show the finished epochs of all jobs and the time left, if the output is a terminal."""
    done = threading.Event()
    with tqdm(total=total, desc="train", unit="epoch", disable=None) as bar:

        def watch() -> None:
            while not done.wait(1):
                bar.update(sum(file.stat().st_size for file in folder.iterdir()) - bar.n)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
