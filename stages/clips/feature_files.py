"""The caches of features, read by memory map; they are read without torch, which writes them."""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np


def open_caches(folder: Path, *, names: Sequence[str], frames: int) -> Mapping[str, np.ndarray]:
    """Map the caches of some features into memory.

    Parameters
    ----------
    folder : Path
        that holds <name>.npy
    names : sequence of str
        the wanted features; other files in the folder are not looked at
    frames : int
        number of rows that each must have, the frames of all clips of the table

    Returns
    -------
    dict of float16 [frames, dimensions] by name

    Raises
    ------
    ValueError
        naming a file whose number of rows does not fit the clip table
    """
    caches = {}
    for name in names:
        path = Path(folder, f"{name}.npy")
        cache = np.load(path, mmap_mode="r").view(np.ndarray)
        if len(cache) != frames:
            raise ValueError(f"{path}: got {len(cache)} frames, want {frames} of the clip table")
        caches[name] = cache
    return caches


def release(cache: np.ndarray) -> None:
    """Give back the memory of a mapped file, whose pages otherwise add up to the whole of it.

    They are read again when they are needed, mostly from the system's cache of files. Any other
    array stays as it is.
    """
    base: object = cache
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):  # which Windows lacks
        base.madvise(mmap.MADV_DONTNEED)
