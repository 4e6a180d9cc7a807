"""A clip's samples: decoded from any file, mixed, resampled, trimmed and levelled.

Imports no table or network library: worker processes that only decode should start quickly.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import soundfile
import soxr

from stages.clips.level import rms_db

FULL_SCALE = 32767
_BLOCK = 1 << 20  # samples, of all channels, that are read from a long file at a time
_POINTER = b"version https://git-lfs"
#: Lengths from here on are what a recorder writes that does not know the length yet.
_LENGTH_UNKNOWN = 0x7FFFF000
#: What libsndfile notes where a file is shorter than its header says.
_DECLARED = re.compile(r"(?:data|SSND|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)\)")
_AFTER_TRIMMING = " without its quiet ends"
_UNFINISHED = "Last page lacks an end-of-stream bit"


class Decoded(NamedTuple):
    """samples: float32 [samples, channels] in [-1, 1]; rate_hz: of the file."""

    samples: np.ndarray
    rate_hz: int


@contextmanager
def _opened(path: str | Path) -> Iterator[soundfile.SoundFile]:
    """An audio file of any format, whole as far as its header tells; refusals say the reason."""
    with open(path, "rb", buffering=0) as raw:
        if raw.read(len(_POINTER)) == _POINTER:
            raise ValueError("Git LFS pointer: fetch the audio itself with `git lfs pull`")
        raw.seek(0)
        try:
            # By its number: by its name, x.raw would be taken for samples without a header.
            with soundfile.SoundFile(raw.fileno(), closefd=False) as file:
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


def _check_samples(file: soundfile.SoundFile, *, read: int, broken: int) -> None:
    """Refuse a file by what came out of it: how many samples, how many of them not finite."""
    if read < file.frames:
        raise ValueError(f"truncated: {read} samples, its header says {file.frames}")
    if not read:
        raise ValueError("empty: no samples")
    if broken:
        raise ValueError(f"not finite: {broken} samples are NaN or infinite")


def decode(path: str | Path) -> Decoded:
    """Read all samples of an audio file of any format that libsndfile reads, whatever its name.

    Parameters
    ----------
    path : path
        the file; its format is recognised from its content

    Returns
    -------
    Decoded
        float32 [samples, channels] and the rate in Hz

    Raises
    ------
    OSError
        if it cannot be opened
    ValueError
        with the reason: not audio, a Git LFS pointer, truncated, empty, not finite
    """
    with _opened(path) as file:
        samples = file.read(dtype="float32", always_2d=True)
        broken = np.count_nonzero(~np.isfinite(samples))
        _check_samples(file, read=len(samples), broken=broken)
        return Decoded(samples, file.samplerate)


def digest(samples: np.ndarray) -> str:
    """SHA-256 of decoded samples: equal for the same recording in two lossless containers."""
    return hashlib.sha256(np.ascontiguousarray(samples, dtype="<f4")).hexdigest()


def condition(
    decoded: Decoded,
    *,
    sample_rate: int,
    trim_db: float | None,
    level: Literal["rms", "peak", "none"],
    level_db: float,
    min_duration_s: float,
    min_peak: float,
) -> np.ndarray:
    """Mix to mono, resample, trim and level the samples of one file.

    Parameters
    ----------
    decoded : Decoded
        samples [samples, channels] and their rate
    sample_rate : int
        wanted, in Hz
    trim_db : float or None
        both ends are cut up to where a stretch of 20 ms is at most this much quieter than the
        loudest one; None: nothing is cut
    level : rms, peak or none
        which level to set; none keeps the file's own
    level_db : float
        wanted level in dB relative to full scale; the gain is held back where a peak would clip
    min_duration_s, min_peak : float
        shorter or quieter clips are refused

    Returns
    -------
    int16 [samples]

    Raises
    ------
    ValueError
        with the reason: too short, silent, or an unknown level
    """
    _check_duration(len(decoded.samples) / decoded.rate_hz, min_duration_s=min_duration_s)
    mono = _mixed(decoded.samples)
    if decoded.rate_hz != sample_rate:
        mono = soxr.resample(mono, decoded.rate_hz, sample_rate)
    _check_peak(_peak(mono), min_peak=min_peak)
    mono = _trimmed(mono, sample_rate=sample_rate, trim_db=trim_db)
    _check_duration(len(mono) / sample_rate, min_duration_s=min_duration_s, what=_AFTER_TRIMMING)
    return _levelled(mono, level=level, level_db=level_db)


def read_windows(
    path: str | Path,
    *,
    window_s: float,
    sample_rate: int,
    trim_db: float | None,
    level: Literal["rms", "peak", "none"],
    level_db: float,
    min_duration_s: float,
    min_peak: float,
) -> Iterator[np.ndarray]:
    """Decode and condition a file window by window: memory does not grow with its length.

    A file of up to `window_s` is one window, the same as of `condition`. A longer one is cut into
    windows of equal length, each conditioned by itself, and those that are silent are left out.

    Parameters
    ----------
    path : path
    window_s : float
        longest window
    sample_rate, trim_db, level, level_db, min_duration_s, min_peak
        see `condition`

    Yields
    ------
    int16 [samples]

    Raises
    ------
    OSError, ValueError
        as `decode` and `condition` do. What is wrong with a file may be seen at its end only, so
        nothing made of its windows is to be used before all have been read.
    """
    loudest = longest = 0.0
    with _opened(path) as file:
        # Few samples of a low rate become many: a block is short by both counts.
        block = int(min(_BLOCK // file.channels, window_s * file.samplerate))
        blocks = _read_blocks(file, size=max(1, block), min_duration_s=min_duration_s)
        samples = round(file.frames * sample_rate / file.samplerate)
        number = max(1, math.ceil(samples / (window_s * sample_rate)))
        resampled = _resampled(blocks, rate_hz=file.samplerate, sample_rate=sample_rate)
        for window in _cut(resampled, number=number, length=samples // number):
            peak = _peak(window)
            loudest = max(loudest, peak)
            if peak <= min_peak:
                continue
            window = _trimmed(window, sample_rate=sample_rate, trim_db=trim_db)
            duration_s = len(window) / sample_rate
            longest = max(longest, duration_s)
            if duration_s >= min_duration_s:
                yield _levelled(window, level=level, level_db=level_db)
    _check_peak(loudest, min_peak=min_peak)
    _check_duration(longest, min_duration_s=min_duration_s, what=_AFTER_TRIMMING)


def _read_blocks(
    file: soundfile.SoundFile, *, size: int, min_duration_s: float
) -> Iterator[np.ndarray]:
    """Mono blocks of up to `size` samples; after the last one, the file as a whole is checked."""
    read = broken = 0
    while len(samples := file.read(size, dtype="float32", always_2d=True)):
        read += len(samples)
        broken += np.count_nonzero(~np.isfinite(samples))
        if not broken:  # else only the counting goes on
            yield _mixed(samples)
    _check_samples(file, read=read, broken=broken)
    _check_duration(read / file.samplerate, min_duration_s=min_duration_s)


def _resampled(
    blocks: Iterator[np.ndarray], *, rate_hz: int, sample_rate: int
) -> Iterator[np.ndarray]:
    """The same samples as from `soxr.resample` of all blocks joined."""
    if rate_hz == sample_rate:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate_hz, sample_rate, num_channels=1, dtype="float32")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def _cut(blocks: Iterator[np.ndarray], *, number: int, length: int) -> Iterator[np.ndarray]:
    """All samples in that number of windows of one length; what is over goes to the last one."""
    held = np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        while number > 1 and len(held) >= length:
            yield held[:length]
            held, number = held[length:], number - 1
    yield held


def _mixed(samples: np.ndarray) -> np.ndarray:
    """One channel, float32 [samples], of [samples, channels]."""
    return samples.mean(axis=1, dtype=np.float64).astype(np.float32)


def _peak(mono: np.ndarray) -> float:
    """Size of the largest sample, 0 of none."""
    peak = float(np.abs(mono).max(initial=0.0))
    if not math.isfinite(peak):
        raise ValueError("not finite: its samples are too large to be resampled")
    return peak


def _check_duration(duration_s: float, *, min_duration_s: float, what: str = "") -> None:
    if duration_s < min_duration_s:
        raise ValueError(f"too short{what}: {duration_s:.3f} s, want at least {min_duration_s} s")


def _check_peak(peak: float, *, min_peak: float) -> None:
    if peak <= min_peak:
        raise ValueError(f"silent: peak {peak:.4f}, want over {min_peak}")


def _trimmed(mono: np.ndarray, *, sample_rate: int, trim_db: float | None) -> np.ndarray:
    """The samples without their quiet ends; see `condition`."""
    if trim_db is None:
        return mono
    if not trim_db > 0:
        raise ValueError(f"audio.trim_db: got {trim_db}, want over 0, or null")
    size = max(1, sample_rate // 50)  # 20 ms
    first = np.arange(0, len(mono), size)
    # librosa.effects.trim does the same, but takes seconds to load in each process that decodes.
    power = np.add.reduceat(np.square(mono, dtype=np.float64), first)
    power /= np.minimum(size, len(mono) - first)
    loud = first[power >= power.max() * 10.0 ** (-trim_db / 10)]
    return mono[loud[0] : loud[-1] + size]


def _levelled(
    mono: np.ndarray, *, level: Literal["rms", "peak", "none"], level_db: float
) -> np.ndarray:
    """The samples with the gain of their level, as int16; see `condition`."""
    peak = _peak(mono)
    target = 10.0 ** (level_db / 20)
    if level == "rms":
        gain = target / float(np.sqrt(np.mean(np.square(mono, dtype=np.float64))))
    elif level == "peak":
        gain = target / peak
    elif level == "none":
        gain = 1.0
    else:
        raise ValueError(f"audio.level: got {level!r}, want rms, peak or none")
    gain = min(gain, 1.0 / peak)
    return np.rint(mono * (gain * FULL_SCALE)).astype(np.int16)


def read_files(
    root: Path, files: Sequence[str], settings: Mapping
) -> list[tuple[dict, np.ndarray]]:
    """Decode and condition some files; a file that cannot be used does not stop the others.

    Parameters
    ----------
    root, files : path, names below it
    settings : mapping
        of `condition`

    Returns
    -------
    list of (facts, samples)
        the clip table's columns channels, rate_hz, duration_s, level_db, sha256 and excluded (the
        reason, or ""); int16 samples, none if the file cannot be used
    """
    return [_read_file(root / file, settings) for file in files]


def _read_file(path: Path, settings: Mapping) -> tuple[dict, np.ndarray]:
    facts = {"channels": 0, "rate_hz": 0, "duration_s": 0.0, "level_db": math.nan}
    facts |= {"sha256": "", "excluded": ""}
    samples = np.zeros(0, np.int16)
    try:
        decoded = decode(path)
        length, channels = decoded.samples.shape
        facts |= {
            "channels": channels,
            "rate_hz": decoded.rate_hz,
            "duration_s": round(length / decoded.rate_hz, 6),
            "level_db": round(rms_db(decoded.samples, full_scale=1.0), 2),
            "sha256": digest(decoded.samples),
        }
        samples = condition(decoded, **settings)
    except OSError as error:
        facts["excluded"] = f"cannot be read: {error.strerror}"
    except ValueError as error:
        facts["excluded"] = str(error)
    return facts, samples
