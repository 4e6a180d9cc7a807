"""From a file to the samples of a clip: decoded, resampled, denoised, trimmed and levelled."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stages.audio.conditioning import keep, short, silent
from stages.audio.cutting import excerpts
from stages.audio.decoding import AudioFile, Tally, opened, read_blocks, resampled
from stages.audio.segments import cut
from stages.audio.sound import Sound, denoised
from stages.audio.store import AudioStore, to_int16

#: Start and end of an excerpt, in seconds.
Times = tuple[float, float]


def read_file(path: str | Path, **settings: Any) -> dict:
    """Read a whole file, of any format: the content decides, not the name; see read_sound."""
    return read_excerpts(path, None, **settings)[0]


def read_excerpts(path: str | Path, times: Sequence[Times] | None, **settings: Any) -> list[dict]:
    """Read excerpts of a file, each like a recording of its own; the file is decoded once.

    Parameters
    ----------
    path : path
    times : sequence of (float, float) or None
        see stages.audio.cutting; None for the whole file
    settings
        see read_sound

    Returns
    -------
    list of dict
        one per excerpt, see read_sound
    """
    found: list[dict] = []
    try:
        with opened(path) as file:
            folder = settings["folder"]
            sounds = [file] if times is None else excerpts(file, times, folder=folder)
            found.extend(read_sound(sound, **settings) for sound in sounds)
    except ValueError as error:
        missing = len(times or [None]) - len(found)
        found += [_unread() | {"excluded": str(error)} for _ in range(missing)]
    return found


def _unread() -> dict[str, Any]:
    facts: dict[str, Any] = {"channels": 0, "rate_hz": 0, "duration_s": 0.0, "level_db": math.nan}
    return facts | {"sha256": "", "samples": 0, "excluded": "", "segments": []}


def read_sound(
    file: AudioFile,
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
    """Decode, mix to mono, resample, denoise, trim and level a recording into one clip or several.

    Memory does not grow with the length of the file. All segments of a file share its gain, so a
    soft one beside a loud one stays soft.

    Parameters
    ----------
    file : AudioFile
        of which nothing has been read yet
    write : callable
        receives the samples of the clips in order, as int16 blocks of any length
    folder : Path or None
        of temporary files for long recordings; None for the system's own
    sample_rate : int
        wanted, in Hz
    denoise : float or None
        fraction of the noise to remove, see stages.audio.sound.denoised
    trim_db, level, level_db, min_duration_s, min_peak
        see stages.audio.conditioning.keep
    segment_s, segment_overlap_s : float or None
        longer recordings are cut, see stages.audio.segments.cut

    Returns
    -------
    dict
        the clip table's columns channels, rate_hz, duration_s, level_db, sha256, samples and
        excluded (the reason why nothing was written, or ""). `segments` lists duration_s, sha256,
        samples and excluded of each segment; it is empty if the file is one clip
    """
    facts, tally = _unread(), Tally()
    try:
        with Sound(sample_rate=sample_rate, folder=folder) as sound:
            mono = read_blocks(file, tally=tally)
            mono = resampled(mono, rate_hz=file.samplerate, sample_rate=sample_rate)
            sound.fill(denoised(mono, sample_rate=sample_rate, denoise=denoise))
            facts |= {"channels": file.channels, "rate_hz": file.samplerate}
            duration_s = tally.samples / file.samplerate
            facts |= {"duration_s": round(duration_s, 6), "sha256": tally.sha256()}
            facts |= {"level_db": round(tally.level_db(), 2)}
            if reason := short(duration_s, min_duration_s=min_duration_s):
                raise ValueError(reason)
            kept = keep(
                sound,
                sample_rate=sample_rate,
                trim_db=trim_db,
                level=level,
                level_db=level_db,
                min_duration_s=min_duration_s,
                min_peak=min_peak,
            )
            if kept.excluded:
                raise ValueError(kept.excluded)
            pieces = cut(
                kept.stop - kept.first,
                sample_rate=sample_rate,
                segment_s=segment_s,
                segment_overlap_s=segment_overlap_s,
            )
            for begin, end in pieces:
                piece = {"first": kept.first + begin, "stop": kept.first + end}
                clip = facts
                if len(pieces) > 1:
                    clip = _segment(sound, **piece, sample_rate=sample_rate, min_peak=min_peak)
                    facts["segments"].append(clip)
                if not clip["excluded"]:
                    clip["samples"] = end - begin
                    for block in sound.blocks(**piece):
                        write(to_int16(block, gain=kept.gain))
    except ValueError as error:
        facts["excluded"] = str(error)
    return facts


def _segment(sound: Sound, first: int, stop: int, *, sample_rate: int, min_peak: float) -> dict:
    """Describe one segment. Its digest is taken before levelling, as the gain is the file's."""
    digest, peak = hashlib.sha256(), 0.0
    for block in sound.blocks(first, stop):
        digest.update(block.astype("<f4", copy=False).data)
        peak = max(peak, float(np.abs(block).max()))
    return {
        "duration_s": round((stop - first) / sample_rate, 6),
        "sha256": digest.hexdigest(),
        "samples": 0,
        "excluded": silent(peak, min_peak=min_peak),
    }


def read_files(
    root: Path, files: Sequence[tuple[str, Sequence[Times] | None]], *, output: Path, **settings
) -> list[dict]:
    """Read some files into an audio store; a file that cannot be used does not stop the others.

    Parameters
    ----------
    root : Path
    files : sequence of (str, times)
        names below root, and what to read of each, see read_excerpts
    output : Path
        the store to write, with the clips in the order of the result
    settings
        see read_sound

    Returns
    -------
    list of dict
        one per file or excerpt, see read_sound
    """
    with AudioStore(output) as store:
        settings |= {"write": store.append, "folder": output.parent}
        return [
            facts
            for name, times in files
            for facts in read_excerpts(root / name, times, **settings)
        ]
