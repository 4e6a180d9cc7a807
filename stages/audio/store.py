"""The audio store: the samples of all clips, end to end in one file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

#: The int16 value that stands for a sample of 1.
FULL_SCALE = 32767
_BLOCK = 1 << 20  # samples that are copied at a time


def to_int16(samples: np.ndarray, *, gain: float) -> np.ndarray:
    """Scale samples in [-1, 1] by a gain and round them to int16 [samples], as a store holds."""
    return np.rint(samples * (gain * FULL_SCALE)).astype(np.int16)


class AudioStore:
    """Writer of an audio store: int16 samples of any number of clips as one .npy vector.

    The length is known only at the end; numpy pads its header so that it can be rewritten.
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
        self._file.write(np.ascontiguousarray(samples, "<i2").data)
        self.samples += len(samples)

    def append_store(self, path: str | Path) -> None:
        """Add all samples of another store at the end, block by block."""
        with AudioReader(path) as reader:
            for block in reader.blocks(0, reader.samples):
                self.append(block)

    def __enter__(self) -> AudioStore:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.seek(0)
        self._header()
        assert self._file.tell() == self._first, "numpy changed the length of its header"
        self._file.close()


class AudioReader:
    """Reader of an audio store by blocks, which do not stay in memory as pages of a map would."""

    def __init__(self, path: str | Path) -> None:
        self._file: BinaryIO = open(path, "rb")  # noqa: SIM115 (closed by __exit__)
        np.lib.format.read_magic(self._file)
        (self.samples,), _, _ = np.lib.format.read_array_header_1_0(self._file)
        self._first = self._file.tell()

    def blocks(self, start: int, samples: int) -> Iterator[np.ndarray]:
        """Yield a number of samples from `start` on, as int16 blocks of any length."""
        self._file.seek(self._first + 2 * start)
        for done in range(0, samples, _BLOCK):
            yield np.fromfile(self._file, "<i2", min(_BLOCK, samples - done))

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def open_audio(path: str | Path) -> np.ndarray:
    """Map an audio store into memory, int16 [samples], without loading it."""
    # An empty vector cannot be mapped, and an np.memmap slows down every slice.
    return np.load(path, mmap_mode="r").view(np.ndarray)
