"""A clip's samples: decoded from any file, mixed, resampled, levelled, and kept in one store.

Imports no table or network library: worker processes that only decode should start quickly.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
import soundfile
import soxr

FULL_SCALE = 32767
_POINTER = b"version https://git-lfs"
#: Lengths from here on are what a recorder writes that does not know the length yet.
_LENGTH_UNKNOWN = 0x7FFFF000
#: What libsndfile notes where a file is shorter than its header says.
_DECLARED = re.compile(r"(?:data|SSND|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)\)")
_UNFINISHED = "Last page lacks an end-of-stream bit"


class Decoded(NamedTuple):
    """samples: float32 [samples, channels] in [-1, 1]; rate_hz: of the file."""

    samples: np.ndarray
    rate_hz: int


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
    ValueError
        with the reason: not audio, a Git LFS pointer, truncated, empty, not finite
    """
    with open(path, "rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise ValueError("Git LFS pointer: fetch the audio itself with `git lfs pull`")
    try:
        with soundfile.SoundFile(path) as file:
            samples = file.read(dtype="float32", always_2d=True)
            rate_hz, notes, frames = file.samplerate, file.extra_info, file.frames
    except soundfile.LibsndfileError as error:
        raise ValueError(f"cannot be decoded: {error.error_string}") from error
    if declared := _DECLARED.search(notes):
        want, got = map(int, declared.groups())
        if got < want < _LENGTH_UNKNOWN:
            raise ValueError(f"truncated: {got} bytes of samples, its header says {want}")
    if len(samples) < frames:
        raise ValueError(f"truncated: {len(samples)} samples, its header says {frames}")
    if _UNFINISHED in notes:
        raise ValueError("truncated: its stream has no end")
    if not len(samples):
        raise ValueError("empty: no samples")
    if broken := np.count_nonzero(~np.isfinite(samples)):
        raise ValueError(f"not finite: {broken} samples are NaN or infinite")
    return Decoded(samples, rate_hz)


def digest(samples: np.ndarray) -> str:
    """SHA-256 of decoded samples: equal for the same recording in two lossless containers."""
    return hashlib.sha256(np.ascontiguousarray(samples, dtype="<f4")).hexdigest()


def condition(
    decoded: Decoded,
    *,
    sample_rate: int,
    level: Literal["rms", "peak", "none"],
    level_db: float,
    min_duration_s: float,
    min_peak: float,
) -> np.ndarray:
    """Mix to mono, resample and level the samples of one file.

    Parameters
    ----------
    decoded : Decoded
        samples [samples, channels] and their rate
    sample_rate : int
        wanted, in Hz
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
    duration_s = len(decoded.samples) / decoded.rate_hz
    if duration_s < min_duration_s:
        raise ValueError(f"too short: {duration_s:.3f} s, want at least {min_duration_s} s")
    mono = decoded.samples.mean(axis=1, dtype=np.float64).astype(np.float32)
    peak = float(np.abs(mono).max())
    if peak <= min_peak:
        raise ValueError(f"silent: peak {peak:.4f}, want over {min_peak}")
    if decoded.rate_hz != sample_rate:
        mono = soxr.resample(mono, decoded.rate_hz, sample_rate)
        peak = float(np.abs(mono).max())
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
        the clip table's columns channels, rate_hz, duration_s, sha256 and excluded (the reason,
        or ""); int16 samples, none if the file cannot be used
    """
    return [_read_file(root / file, settings) for file in files]


def _read_file(path: Path, settings: Mapping) -> tuple[dict, np.ndarray]:
    facts = {"channels": 0, "rate_hz": 0, "duration_s": 0.0, "sha256": "", "excluded": ""}
    samples = np.zeros(0, np.int16)
    try:
        decoded = decode(path)
        length, channels = decoded.samples.shape
        facts |= {
            "channels": channels,
            "rate_hz": decoded.rate_hz,
            "duration_s": round(length / decoded.rate_hz, 6),
            "sha256": digest(decoded.samples),
        }
        samples = condition(decoded, **settings)
    except OSError as error:
        facts["excluded"] = f"cannot be read: {error.strerror}"
    except ValueError as error:
        facts["excluded"] = str(error)
    return facts, samples


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
