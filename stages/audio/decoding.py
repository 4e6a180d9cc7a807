"""Decode audio files of any format to mono at one rate, block by block."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import local
from typing import Any

import numpy as np
import soundfile
import soxr

from stages.audio.containers import LENGTH_UNKNOWN, needs_ffmpeg, sound_parts, unclear
from stages.audio.foreign import by_ffmpeg
from stages.audio.isolation import DecodingError, Stream, helper
from stages.audio.loudness import decibels, large_offset
from stages.audio.views import TOLERANCE_S, Part, View, check_rate

#: Largest block that is read from a long file at a time: samples of all channels, and seconds.
_BLOCK, _BLOCK_S = 1 << 20, 60
#: What a recording may have at most.
_MAX_CHANNELS, MAX_S = 256, 24 * 3600
_POINTER = b"version https://git-lfs"
#: libsndfile notes this where a file is shorter than its header says.
_DECLARED = re.compile(r"(?:data|SSND|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)\)")
_UNKNOWN_CODE = re.compile("unimplemented format|unsupported encoding")
_UNFINISHED = "Last page lacks an end-of-stream bit"
#: Bytes that may follow the samples of a FLAC file: tags, and what its decoder reads ahead.
_BEHIND = 1 << 14
#: libsndfile gives this or more where a header leaves the length open.
_ENDLESS = 1 << 62
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}
#: Each thread's last resampler. Designing its filter can take as long as filtering a clip.
_IDLE = local()


class Tally:
    """Running facts of the samples read so far: count, non-finite count, energies and digest."""

    def __init__(self) -> None:
        self.samples = self.broken = 0
        self._energy = 0.0  # mean over the channels
        self._mono = self._mono_energy = 0.0  # sums of the mean of the channels, and of its square
        self._digest = hashlib.sha256()

    def add(self, samples: np.ndarray, mono: np.ndarray) -> None:
        """Add a block, float32 [samples, channels], and its mean over the channels."""
        self.samples += len(samples)
        self.broken += int(np.count_nonzero(~np.isfinite(samples)))
        if not self.broken:
            flat = samples.reshape(-1).astype(np.float64)
            self._energy += float(flat @ flat) / samples.shape[1]
            mean = flat if samples.shape[1] == 1 else mono.astype(np.float64)
            self._mono += float(mean.sum())
            self._mono_energy += float(mean @ mean)
        self._digest.update(samples.astype("<f4", copy=False).data)

    def level_db(self) -> float:
        """Root mean square without a constant offset, relative to full scale."""
        return decibels(self._energy / self.samples - self.offset() ** 2)

    def offset(self) -> float:
        """Mean of the mono samples if it is large, or 0."""
        return large_offset(self._mono, self._mono_energy, self.samples)

    def cancels(self) -> bool:
        """Whether the channels differ, and next to nothing but an offset is left of their mean."""
        left = self._mono_energy - self._mono**2 / self.samples
        return self._energy - self._mono_energy > max(1e3 * left, 1e-10 * self.samples)

    def sha256(self) -> str:
        """Digest of the samples, the same in every lossless container."""
        return self._digest.hexdigest()


class AudioFile:
    """An open audio file, from which blocks are read one after the other.

    Parameters
    ----------
    path : path
    samplerate, channels : int
        in Hz; of the file
    declared : int or None
        length by its header, in samples per channel; None if the header leaves it open
    read : callable
        takes a number of samples per channel and returns float32 [samples, channels], up to as
        many, and none at the end

    Raises
    ------
    ValueError
        if the sample rate or the number of channels is none of a recording
    """

    def __init__(
        self,
        path: str | Path,
        samplerate: int,
        channels: int,
        declared: int | None,
        read: Callable[[int], np.ndarray],
    ) -> None:
        check_rate(samplerate)
        if not 1 <= channels <= _MAX_CHANNELS:
            raise ValueError(f"channels: got {channels}, want 1 to {_MAX_CHANNELS}")
        self.samplerate, self.channels, self.read = samplerate, channels, read
        self.path, self._declared = path, declared

    def frames(self, watch: Callable[[int], object] = int) -> int:
        """Count the samples per channel; decodes the file once more if its header does not tell.

        Parameters
        ----------
        watch : callable
            told how many there are so far, block by block; what it raises ends the count
        """
        if self._declared is None:
            count = 0
            with opened(self.path) as file:
                for samples in _blocks(file):
                    watch(count := count + len(samples))
            self._declared = count
        watch(self._declared)
        return self._declared


@contextmanager
def opened(path: str | Path) -> Iterator[AudioFile]:
    """Open an audio file of any format that libsndfile reads, or ffmpeg where it is installed.

    Raises
    ------
    ValueError
        saying why the file cannot be read, decoded, or is shorter than its header says
    """
    with ExitStack() as stack:
        raw = stack.enter_context(_regular(path))
        try:
            begins = os.pread(raw, len(_POINTER), 0)
            parts, plain = sound_parts(raw)
        except OSError as error:
            raise ValueError(f"cannot be read: {error.strerror}") from error
        if begins == _POINTER:
            raise ValueError("Git LFS pointer: fetch the audio itself with `git lfs pull`")
        try:
            source = stack.enter_context(_joined(raw, parts) if plain else _isolated(raw))
        except DecodingError as error:
            # WAV, CAF and their like may hold a code that libsndfile does not know.
            if not needs_ffmpeg(raw) and not _UNKNOWN_CODE.search(str(error)):
                raise
            rate_hz, channels, read = stack.enter_context(by_ffmpeg(raw))
            source = rate_hz, channels, None, read
        yield AudioFile(path, *source)


@contextmanager
def _regular(path: str | Path) -> Iterator[int]:
    """Open a regular file and return its descriptor; anything else could block for ever."""
    try:
        _check_kind(os.stat(path).st_mode)
        # Meanwhile a pipe may have replaced the file: do not wait for somebody to write to it.
        raw = open(  # noqa: SIM115 (closed below)
            path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)
        )
    except OSError as error:
        reason = error.strerror
        if isinstance(error, FileNotFoundError) and os.path.islink(path):
            reason = f"got a link to {os.readlink(path)}, which is missing"
        raise ValueError(f"cannot be read: {reason}") from error
    with raw:
        _check_kind(os.fstat(raw.fileno()).st_mode)
        yield raw.fileno()


def _check_kind(mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise ValueError(f"cannot be decoded: got {kind}, want a regular file")


_Source = tuple[int, int, int | None, Callable[[int], np.ndarray]]


@contextmanager
def _joined(raw: int, parts: Sequence[Part]) -> Iterator[_Source]:
    """Decode the parts of a file one after the other in this process."""
    with _Joined(raw, parts) as file:
        alone = file.length if len(parts) == 1 else None
        yield file.samplerate, file.channels, alone, file.read


class _Joined:
    """Reader of the parts of a file, of which one is open at a time."""

    def __init__(self, raw: int, parts: Sequence[Part]) -> None:
        self._raw, self._whole = raw, Part(b"", 0, os.fstat(raw).st_size)
        self._parts = iter(parts)
        self._open(next(self._parts))
        self.samplerate, self.channels = self._file.samplerate, self._file.channels

    def __enter__(self) -> _Joined:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def _open(self, part: Part) -> None:
        # By descriptor: libsndfile takes a file named x.raw for samples without a header.
        os.lseek(self._raw, 0, os.SEEK_SET)
        self._view = None if part == self._whole else View(self._raw, part)
        try:
            self._file = Stream(self._view or self._raw)
        except soundfile.LibsndfileError as error:
            raise _undecodable(error.error_string, self._raw) from error
        self._read = 0
        self.length = _length(self._file.frames, self._file.extra_info, self._file.samplerate)

    def _unread(self) -> int:
        """Bytes of the open part that libsndfile has left."""
        if self._view:
            return self._view.left()
        return os.fstat(self._raw).st_size - os.lseek(self._raw, 0, os.SEEK_CUR)

    def read(self, count: int) -> np.ndarray:
        """Return up to `count` samples per channel, float32 [samples, channels]."""
        while True:
            try:
                samples = self._file.block(count)
            except soundfile.LibsndfileError as error:
                raise _undecodable(error.error_string, self._raw) from error
            self._read += len(samples)
            if len(samples):
                return samples
            _check_length(self._read, self.length, self.samplerate)
            if self._file.format == "FLAC" and self._unread() > _BEHIND:
                raise ValueError(unclear(f"{self._read} samples, and more are there"))
            if (part := next(self._parts, None)) is None:
                return samples
            self._file.close()
            self._open(part)
            form = self._file.samplerate, self._file.channels
            if form != (self.samplerate, self.channels):
                raise ValueError(
                    f"changes midway: got {form[0]} Hz with {form[1]} channels, want "
                    f"{self.samplerate} Hz with {self.channels} as at the beginning"
                )


@contextmanager
def _isolated(raw: int) -> Iterator[_Source]:
    """Decode a file in a process that may be lost."""
    os.lseek(raw, 0, os.SEEK_SET)
    with helper() as process:
        try:
            told = process.open(raw)
        except DecodingError as error:
            raise _undecodable(str(error), raw) from error
        rate_hz, channels = told["samplerate"], told["channels"]
        length = _length(told["frames"], told["notes"], rate_hz)
        done = 0

        def read(count: int) -> np.ndarray:
            nonlocal done
            try:
                samples = np.frombuffer(process.read(count), np.float32).reshape(-1, channels)
            except DecodingError as error:
                raise _undecodable(str(error), raw) from error
            done += len(samples)
            if not len(samples):
                _check_length(done, length, rate_hz)
            return samples

        yield rate_hz, channels, length, read


def _undecodable(reason: str, raw: int) -> DecodingError:
    return DecodingError(
        f"cannot be decoded: {reason.strip()} Got {os.fstat(raw).st_size} bytes, want WAV, FLAC, "
        "OGG, MP3 or similar"
    )


def _length(frames: int, notes: str, rate_hz: int) -> int | None:
    """Length by the header, None if it leaves it open, checked against what libsndfile notes."""
    if declared := _DECLARED.search(notes):
        want, got = map(int, declared.groups())
        slack = TOLERANCE_S * rate_hz * got / frames if 0 < frames < _ENDLESS else 0
        if got + slack < want < LENGTH_UNKNOWN:
            raise ValueError(f"truncated: {got} bytes of samples, its header says {want}")
    if _UNFINISHED in notes:
        raise ValueError("truncated: its stream has no end")
    return frames if frames < _ENDLESS else None


def _check_length(samples: int, declared: int | None, rate_hz: int) -> None:
    if declared is not None and samples + TOLERANCE_S * rate_hz < declared:
        raise ValueError(f"truncated: {samples} samples, its header says {declared}")


def read_blocks(
    file: AudioFile, *, tally: Tally, at_most_s: float = _BLOCK_S
) -> Iterator[np.ndarray]:
    """Read a file as mono blocks, and check it as a whole after the last one.

    A large offset of the first block is subtracted from all; see Sound about smaller ones.

    Parameters
    ----------
    file : AudioFile
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
        if the file is empty, shorter than its header says, not finite, or silent in mono
    """
    offset = None
    for samples in _blocks(file, at_most_s=at_most_s):
        mono = _mixed(samples)
        tally.add(samples, mono)
        if not tally.broken:  # a file with broken samples is only counted to its end
            if offset is None:
                # Resampling would make a click of a large offset at both ends.
                offset = np.float32(tally.offset())
            yield mono - offset if offset else mono
    if not tally.samples:
        raise ValueError("empty: no samples")
    if tally.broken:
        raise ValueError(f"not finite: {tally.broken} samples are NaN or infinite")
    if file.channels > 1 and tally.cancels():
        raise ValueError(
            f"silent in mono: its {file.channels} channels cancel each other out; invert one of "
            "them, or keep one alone"
        )


def _blocks(file: AudioFile, *, at_most_s: float = _BLOCK_S) -> Iterator[np.ndarray]:
    """Yield all float32 [samples, channels] of a file, but not of one that never ends."""
    size = max(1, int(min(_BLOCK // file.channels, min(at_most_s, _BLOCK_S) * file.samplerate)))
    left = MAX_S * file.samplerate
    while len(samples := file.read(size)):
        if (left := left - len(samples)) < 0:
            raise ValueError(f"too long: over {MAX_S // 3600} hours")
        yield samples


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
