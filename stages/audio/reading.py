"""A clip's samples: decoded from any file, mixed, resampled, denoised, trimmed and levelled."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from stages.audio.conditioning import keep, short, silent
from stages.audio.decoding import Heard, opened, read_blocks, resampled
from stages.audio.segments import cut
from stages.audio.sound import Sound, denoised
from stages.audio.store import AudioStore, to_int16


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
        share of the noise to remove: see stages.audio.sound.denoised
    trim_db, level, level_db, min_duration_s, min_peak
        see stages.audio.conditioning.keep
    segment_s, segment_overlap_s : float or None
        what is longer is cut into segments: see stages.audio.segments.cut

    Returns
    -------
    dict
        the clip table's columns channels, rate_hz, duration_s, level_db, sha256, samples and
        excluded (the reason why nothing was written, or ""); `segments`: of each its own
        duration_s, sha256, samples and excluded; empty if the file is one clip
    """
    facts = {"channels": 0, "rate_hz": 0, "duration_s": 0.0, "level_db": math.nan}
    facts |= {"sha256": "", "samples": 0, "excluded": "", "segments": []}
    heard = Heard()
    try:
        with opened(path) as file, Sound(sample_rate=sample_rate, folder=folder) as sound:
            mono = read_blocks(file, heard=heard)
            mono = resampled(mono, rate_hz=file.samplerate, sample_rate=sample_rate)
            sound.fill(denoised(mono, sample_rate=sample_rate, denoise=denoise))
            facts |= {"channels": file.channels, "rate_hz": file.samplerate}
            duration_s = heard.samples / file.samplerate
            facts |= {"duration_s": round(duration_s, 6), "sha256": heard.sha256()}
            facts |= {"level_db": round(heard.level_db(), 2)}
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
        "excluded": silent(peak, min_peak=min_peak),
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
