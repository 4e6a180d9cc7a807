"""The audio store: the samples of all clips end to end in one file.

Imports no table or network library: worker processes that only decode should start quickly.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np


class AudioStore:
    """Write an audio store: int16 samples of any number of clips, end to end, as one .npy vector.

    The length is not known until the end; numpy pads its header so that it can be rewritten.
    """

    def __init__(self, path: str | Path) -> None:
        self._file: BinaryIO = open(path, "wb")  # noqa: SIM115 (closed by __exit__)
        self.samples = 0
        self._header()
        self._first = self._file.tell()

    def _header(self) -> None:
        header = {"descr": "<i2", "fortran_order": False, "shape": (self.samples,)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def append(self, samples: np.ndarray) -> None:
        """Add int16 samples at the end."""
        samples.astype("<i2", copy=False).tofile(self._file)
        self.samples += len(samples)

    def __enter__(self) -> AudioStore:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.seek(0)
        self._header()
        assert self._file.tell() == self._first, "numpy changed the length of its header"
        self._file.close()


def open_audio(path: str | Path) -> np.ndarray:
    """Map an audio store into memory: int16 [samples], never loaded whole."""
    # A map of an empty vector cannot be made, and an np.memmap slows every slice down.
    return np.load(path, mmap_mode="r").view(np.ndarray)
