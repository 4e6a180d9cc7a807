"""Decode audio files of any format to mono at one rate, block by block."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock, local
from typing import Any

import numpy as np
import soundfile
import soxr

from stages.audio.loudness import decibels

_BLOCK = 1 << 20  # samples, of all channels, that are read from a long file at a time
_POINTER = b"version https://git-lfs"
#: A recorder that does not know the length yet writes a number of at least this into the header.
_LENGTH_UNKNOWN = 0x7FFFF000
#: libsndfile notes this where a file is shorter than its header says.
_DECLARED = re.compile(r"(?:data|SSND|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)\)")
_UNFINISHED = "Last page lacks an end-of-stream bit"
#: libsndfile keeps the reason why a file does not open in one variable for all threads.
_OPENING = Lock()
#: Each thread's last resampler. Designing its filter can take as long as filtering a clip.
_IDLE = local()


class Tally:
    """Running facts of the samples read so far: count, non-finite count, energy and digest."""

    def __init__(self) -> None:
        self.samples = self.broken = 0
        self._energy = 0.0  # mean over the channels
        self._digest = hashlib.sha256()

    def add(self, samples: np.ndarray) -> None:
        """Add a block, float32 [samples, channels]."""
        self.samples += len(samples)
        self.broken += int(np.count_nonzero(~np.isfinite(samples)))
        if not self.broken:
            flat = samples.reshape(-1).astype(np.float64)
            self._energy += float(flat @ flat) / samples.shape[1]
        self._digest.update(samples.astype("<f4", copy=False).data)

    def level_db(self) -> float:
        """Root mean square relative to full scale."""
        return decibels(self._energy / self.samples)

    def sha256(self) -> str:
        """Digest of the samples, the same in every lossless container."""
        return self._digest.hexdigest()


@contextmanager
def opened(path: str | Path) -> Iterator[soundfile.SoundFile]:
    """Open an audio file of any format that libsndfile reads.

    Raises
    ------
    ValueError
        saying why the file cannot be read, decoded, or is shorter than its header says
    """
    with ExitStack() as stack:
        try:
            raw = stack.enter_context(open(path, "rb", buffering=0))
            begins = raw.read(len(_POINTER))
        except OSError as error:
            raise ValueError(f"cannot be read: {error.strerror}") from error
        if begins == _POINTER:
            raise ValueError("Git LFS pointer: fetch the audio itself with `git lfs pull`")
        raw.seek(0)
        try:
            with _OPENING:
                # By descriptor: libsndfile takes a file named x.raw for samples without a header.
                file = soundfile.SoundFile(raw.fileno(), closefd=False)
            with file:
                _check_header(file.extra_info)
                yield file
        except soundfile.LibsndfileError as error:
            raise ValueError(
                f"cannot be decoded: {error.error_string.strip()} Got "
                f"{os.fstat(raw.fileno()).st_size} bytes, want WAV, FLAC, OGG, MP3 or similar"
            ) from error


def _check_header(notes: str) -> None:
    if declared := _DECLARED.search(notes):
        want, got = map(int, declared.groups())
        if got < want < _LENGTH_UNKNOWN:
            raise ValueError(f"truncated: {got} bytes of samples, its header says {want}")
    if _UNFINISHED in notes:
        raise ValueError("truncated: its stream has no end")


def read_blocks(
    file: soundfile.SoundFile, *, tally: Tally, at_most_s: float = math.inf
) -> Iterator[np.ndarray]:
    """Read a file as mono blocks, and check it as a whole after the last one.

    Parameters
    ----------
    file : SoundFile
    tally : Tally
        counts what is read
    at_most_s : float
        longest block, in seconds

    Yields
    ------
    float32 [samples]

    Raises
    ------
    ValueError
        if the file is empty, shorter than its header says, or not finite
    """
    size = max(1, int(min(_BLOCK // file.channels, at_most_s * file.samplerate)))
    while tally.samples < file.frames:
        samples = file.read(size, dtype="float32", always_2d=True)
        if not len(samples):
            break
        tally.add(samples)
        if not tally.broken:  # a file with broken samples is only counted to its end
            yield _mixed(samples)
    if tally.samples < file.frames:
        raise ValueError(f"truncated: {tally.samples} samples, its header says {file.frames}")
    if not tally.samples:
        raise ValueError("empty: no samples")
    if tally.broken:
        raise ValueError(f"not finite: {tally.broken} samples are NaN or infinite")


def _mixed(samples: np.ndarray) -> np.ndarray:
    """Average [samples, channels] over the channels to float32 [samples]."""
    if samples.shape[1] == 1:
        return samples[:, 0]
    return samples.mean(axis=1, dtype=np.float64).astype(np.float32)


def resampled(
    blocks: Iterator[np.ndarray], *, rate_hz: int, sample_rate: int
) -> Iterator[np.ndarray]:
    """Resample mono blocks; their sum equals `soxr.resample` of all blocks joined."""
    if rate_hz == sample_rate:
        yield from blocks
        return
    idle: tuple[Any, Any] = getattr(_IDLE, "resampler", (None, None))
    rates, stream = idle
    _IDLE.resampler = (None, None)  # a nested call makes its own
    if rates == (rate_hz, sample_rate):
        stream.clear()
    else:
        stream = soxr.ResampleStream(rate_hz, sample_rate, num_channels=1, dtype="float32")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
    _IDLE.resampler = ((rate_hz, sample_rate), stream)
