"""A clip's samples: decoded from any file, mixed, resampled, denoised, trimmed and levelled."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock, local
from typing import Literal

import numpy as np
import soundfile
import soxr

from stages.clips.level import decibels
from stages.clips.segments import cut
from stages.clips.sound import Sound, denoised
from stages.clips.store import AudioStore

FULL_SCALE = 32767
_BLOCK = 1 << 20  # samples, of all channels, that are read from a long file at a time
_POINTER = b"version https://git-lfs"
#: Lengths from here on are what a recorder writes that does not know the length yet.
_LENGTH_UNKNOWN = 0x7FFFF000
#: What libsndfile notes where a file is shorter than its header says.
_DECLARED = re.compile(r"(?:data|SSND|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)\)")
_AFTER_TRIMMING = " without its quiet ends"
_UNFINISHED = "Last page lacks an end-of-stream bit"
#: libsndfile keeps the reason why a file does not open in one place for all threads.
_OPENING = Lock()
#: Each thread's last resampler: to design its filter can take as long as to use it for a clip.
_IDLE = local()


class _Heard:
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
def _opened(path: str | Path) -> Iterator[soundfile.SoundFile]:
    """An audio file of any format, whole as far as its header tells; refusals say the reason."""
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


def _read_blocks(file: soundfile.SoundFile, *, size: int, heard: _Heard) -> Iterator[np.ndarray]:
    """Mono blocks of up to `size` samples; after the last one, the file as a whole is checked."""
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


def _resampled(
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


def read_windows(
    path: str | Path,
    *,
    window_s: float,
    sample_rate: int,
    denoise: float | None,
    trim_db: float | None,
    level: Literal["rms", "peak", "none"],
    level_db: float,
    min_duration_s: float,
    min_peak: float,
) -> Iterator[np.ndarray]:
    """Decode and condition a file window by window: memory does not grow with its length.

    A file of up to `window_s` is one window, the same as the clip that `read_file` makes of it. A
    longer one is cut into windows of equal length, each conditioned by itself, and those that are
    silent are left out.

    Parameters
    ----------
    path : path
    window_s : float
        longest window
    sample_rate, denoise, trim_db, level, level_db, min_duration_s, min_peak
        see `read_file`

    Yields
    ------
    int16 [samples]

    Raises
    ------
    ValueError
        with the reason, as `read_file` gives it. What is wrong with a file may be seen at its end
        only, so nothing made of its windows is to be used before all have been read.
    """
    loudest = longest = 0.0
    heard = _Heard()
    with _opened(path) as file:
        # Few samples of a low rate become many: a block is short by both counts.
        block = int(min(_BLOCK // file.channels, window_s * file.samplerate))
        blocks = _read_blocks(file, size=max(1, block), heard=heard)
        samples = round(file.frames * sample_rate / file.samplerate)
        number = max(1, math.ceil(samples / (window_s * sample_rate)))
        resampled = _resampled(blocks, rate_hz=file.samplerate, sample_rate=sample_rate)
        for window in _cut(resampled, number=number, length=samples // number):
            with Sound(sample_rate=sample_rate, folder=None) as sound:
                sound.fill(denoised([window], sample_rate=sample_rate, denoise=denoise))
                peak = sound.peak()
                loudest = max(loudest, peak)
                if peak <= min_peak:
                    continue
                first, stop = sound.trimmed(trim_db)
                duration_s = (stop - first) / sample_rate
                longest = max(longest, duration_s)
                if duration_s >= min_duration_s:
                    gain = sound.gain(first, stop, level=level, level_db=level_db)
                    quantised = [to_int16(b, gain=gain) for b in sound.blocks(first, stop)]
                    yield np.concatenate(quantised)
        _check_duration(heard.samples / file.samplerate, min_duration_s=min_duration_s)
    _check_peak(loudest, min_peak=min_peak)
    _check_duration(longest, min_duration_s=min_duration_s, what=_AFTER_TRIMMING)


def _cut(blocks: Iterator[np.ndarray], *, number: int, length: int) -> Iterator[np.ndarray]:
    """All samples in that number of windows of one length; what is over goes to the last one."""
    held = np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        while number > 1 and len(held) >= length:
            yield held[:length]
            held, number = held[length:], number - 1
    yield held


def _check_duration(duration_s: float, *, min_duration_s: float, what: str = "") -> None:
    if duration_s < min_duration_s:
        raise ValueError(f"too short{what}: {duration_s:.3f} s, want at least {min_duration_s} s")


def _check_peak(peak: float, *, min_peak: float) -> None:
    if reason := _silent(peak, min_peak=min_peak):
        raise ValueError(reason)


def _silent(peak: float, *, min_peak: float) -> str:
    """Why samples of this peak are not used, or ""."""
    return f"silent: peak {peak:.4f}, want over {min_peak}" if peak <= min_peak else ""


def to_int16(samples: np.ndarray, *, gain: float) -> np.ndarray:
    """Samples in [-1, 1] as an audio store holds them, int16 [samples], times the gain."""
    return np.rint(samples * (gain * FULL_SCALE)).astype(np.int16)


def read_file(
    path: str | Path,
    *,
    write: Callable[[np.ndarray], object],
    folder: Path | None,
    sample_rate: int,
    denoise: float | None,
    trim_db: float | None,
    level: Literal["rms", "peak", "none"],
    level_db: float,
    min_duration_s: float,
    min_peak: float,
    segment_s: float | None,
    segment_overlap_s: float | None,
) -> dict:
    """Decode, mix to mono, resample, denoise, trim and level a file: a clip, or several of it.

    Memory does not grow with the file's length. All segments of a file have its gain, so that a
    soft one beside a loud one stays soft, and pauses are not turned up.

    Parameters
    ----------
    path : path
        of any format that libsndfile reads, recognised from its content
    write : callable
        is given the clips' samples, one after the other, as int16 [samples] of any length
    folder : Path or None
        for temporary files of long recordings; None: where this machine keeps such
    sample_rate : int
        wanted, in Hz
    denoise : float or None
        share of the noise to remove: see stages.clips.sound.denoised
    trim_db : float or None
        both ends are cut up to where a stretch of 20 ms is at most this much quieter than the
        loudest one; None: nothing is cut
    level : rms, peak or none
        which level to set; none keeps the file's own
    level_db : float
        wanted level in dB relative to full scale; the gain is held back where a peak would clip
    min_duration_s, min_peak : float
        shorter or quieter files are not used
    segment_s, segment_overlap_s : float or None
        what is longer is cut into segments: see stages.clips.segments.cut

    Returns
    -------
    dict
        the clip table's columns channels, rate_hz, duration_s, level_db, sha256, samples and
        excluded (the reason why nothing was written, or ""); `segments`: of each its own
        duration_s, sha256, samples and excluded; empty if the file is one clip
    """
    facts = {"channels": 0, "rate_hz": 0, "duration_s": 0.0, "level_db": math.nan}
    facts |= {"sha256": "", "samples": 0, "excluded": "", "segments": []}
    heard = _Heard()
    try:
        with _opened(path) as file, Sound(sample_rate=sample_rate, folder=folder) as sound:
            mono = _read_blocks(file, size=max(1, _BLOCK // file.channels), heard=heard)
            mono = _resampled(mono, rate_hz=file.samplerate, sample_rate=sample_rate)
            sound.fill(denoised(mono, sample_rate=sample_rate, denoise=denoise))
            facts |= {"channels": file.channels, "rate_hz": file.samplerate}
            duration_s = heard.samples / file.samplerate
            facts |= {"duration_s": round(duration_s, 6), "sha256": heard.sha256()}
            facts |= {"level_db": round(heard.level_db(), 2)}
            _check_duration(duration_s, min_duration_s=min_duration_s)
            _check_peak(sound.peak(), min_peak=min_peak)
            first, stop = sound.trimmed(trim_db)
            duration_s = (stop - first) / sample_rate
            _check_duration(duration_s, min_duration_s=min_duration_s, what=_AFTER_TRIMMING)
            gain = sound.gain(first, stop, level=level, level_db=level_db)
            pieces = cut(
                stop - first,
                sample_rate=sample_rate,
                segment_s=segment_s,
                segment_overlap_s=segment_overlap_s,
            )
            for begin, end in pieces:
                piece = {"first": first + begin, "stop": first + end}
                clip = facts
                if len(pieces) > 1:
                    clip = _segment(sound, **piece, sample_rate=sample_rate, min_peak=min_peak)
                    facts["segments"].append(clip)
                if not clip["excluded"]:
                    clip["samples"] = end - begin
                    for block in sound.blocks(**piece):
                        write(to_int16(block, gain=gain))
    except ValueError as error:
        facts["excluded"] = str(error)
    return facts


def _segment(sound: Sound, first: int, stop: int, *, sample_rate: int, min_peak: float) -> dict:
    """Facts of one segment; its digest is that of its samples before they are levelled, as the
    gain comes from the whole file."""
    digest, peak = hashlib.sha256(), 0.0
    for block in sound.blocks(first, stop):
        digest.update(block.astype("<f4", copy=False))
        peak = max(peak, float(np.abs(block).max()))
    return {
        "duration_s": round((stop - first) / sample_rate, 6),
        "sha256": digest.hexdigest(),
        "samples": 0,
        "excluded": _silent(peak, min_peak=min_peak),
    }


def read_files(root: Path, files: Sequence[str], *, output: Path, **settings) -> list[dict]:
    """Read some files into an audio store; one that cannot be used does not stop the others.

    Parameters
    ----------
    root, files : path, names below it
    output : Path
        the store to write, with the samples of all clips in the order of what is returned
    settings
        of `read_file`

    Returns
    -------
    list of dict
        of each file, see `read_file`
    """
    with AudioStore(output) as store:
        return [
            read_file(root / name, write=store.append, folder=output.parent, **settings)
            for name in files
        ]
