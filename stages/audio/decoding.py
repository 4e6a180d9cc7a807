"""Decoding: any file's samples, mixed to mono and resampled, block by block; and why not."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock, local

import numpy as np
import soundfile
import soxr

from stages.audio.loudness import decibels

_BLOCK = 1 << 20  # samples, of all channels, that are read from a long file at a time
_POINTER = b"version https://git-lfs"
#: Lengths from here on are what a recorder writes that does not know the length yet.
_LENGTH_UNKNOWN = 0x7FFFF000
#: What libsndfile notes where a file is shorter than its header says.
_DECLARED = re.compile(r"(?:data|SSND|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)\)")
_UNFINISHED = "Last page lacks an end-of-stream bit"
#: libsndfile keeps the reason why a file does not open in one place for all threads.
_OPENING = Lock()
#: Each thread's last resampler: to design its filter can take as long as to use it for a clip.
_IDLE = local()


class Heard:
    """What was read of a file so far: how many samples, how many of them not finite, their sum of
    squares, and their digest."""

    def __init__(self) -> None:
        self.samples = self.broken = 0
        self._energy = 0.0  # mean over the channels
        self._digest = hashlib.sha256()

    def add(self, samples: np.ndarray) -> None:
        """Take in float32 [samples, channels]."""
        self.samples += len(samples)
        self.broken += np.count_nonzero(~np.isfinite(samples))
        if not self.broken:
            flat = samples.reshape(-1).astype(np.float64)
            self._energy += float(flat @ flat) / samples.shape[1]
        self._digest.update(samples.astype("<f4", copy=False))

    def level_db(self) -> float:
        """Root mean square relative to full scale."""
        return decibels(self._energy / self.samples)

    def sha256(self) -> str:
        """Equal for the same samples in two lossless containers."""
        return self._digest.hexdigest()


@contextmanager
def opened(path: str | Path) -> Iterator[soundfile.SoundFile]:
    """An audio file of any format, whole as far as its header tells; a ValueError says why not."""
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
                # By its number: by its name, x.raw would be taken for samples without a header.
                file = soundfile.SoundFile(raw.fileno(), closefd=False)
            with file:
                _check_header(file.extra_info)
                yield file
        except soundfile.LibsndfileError as error:
            raise ValueError(
                f"cannot be decoded: {error.error_string.strip()} Got "
                f"{os.fstat(raw.fileno()).st_size} bytes, want WAV, FLAC, OGG, MP3 or alike"
            ) from error


def _check_header(notes: str) -> None:
    if declared := _DECLARED.search(notes):
        want, got = map(int, declared.groups())
        if got < want < _LENGTH_UNKNOWN:
            raise ValueError(f"truncated: {got} bytes of samples, its header says {want}")
    if _UNFINISHED in notes:
        raise ValueError("truncated: its stream has no end")


def read_blocks(
    file: soundfile.SoundFile, *, heard: Heard, at_most_s: float = math.inf
) -> Iterator[np.ndarray]:
    """Mono blocks, each short in memory and time; after the last one, the whole file is checked.

    Parameters
    ----------
    file : SoundFile
    heard : Heard
        is told what was read
    at_most_s : float
        longest block

    Yields
    ------
    float32 [samples]

    Raises
    ------
    ValueError
        if the file is empty, shorter than its header says, or not finite
    """
    size = max(1, int(min(_BLOCK // file.channels, at_most_s * file.samplerate)))
    while heard.samples < file.frames:
        samples = file.read(size, dtype="float32", always_2d=True)
        if not len(samples):
            break
        heard.add(samples)
        if not heard.broken:  # else only the counting goes on
            yield _mixed(samples)
    if heard.samples < file.frames:
        raise ValueError(f"truncated: {heard.samples} samples, its header says {file.frames}")
    if not heard.samples:
        raise ValueError("empty: no samples")
    if heard.broken:
        raise ValueError(f"not finite: {heard.broken} samples are NaN or infinite")


def _mixed(samples: np.ndarray) -> np.ndarray:
    """One channel, float32 [samples], of [samples, channels]."""
    if samples.shape[1] == 1:
        return samples[:, 0]
    return samples.mean(axis=1, dtype=np.float64).astype(np.float32)


def resampled(
    blocks: Iterator[np.ndarray], *, rate_hz: int, sample_rate: int
) -> Iterator[np.ndarray]:
    """The same samples as from `soxr.resample` of all blocks joined."""
    if rate_hz == sample_rate:
        yield from blocks
        return
    rates, stream = getattr(_IDLE, "resampler", (None, None))
    _IDLE.resampler = (None, None)  # whoever resamples meanwhile makes another one
    if rates == (rate_hz, sample_rate):
        stream.clear()
    else:
        stream = soxr.ResampleStream(rate_hz, sample_rate, num_channels=1, dtype="float32")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
    _IDLE.resampler = ((rate_hz, sample_rate), stream)
