"""Windows of a recording, each conditioned like a training clip."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.audio.conditioning import Kept, keep, short
from stages.audio.decoding import Tally, opened, read_blocks, resampled
from stages.audio.sound import Sound, denoised
from stages.audio.store import to_int16

#: Called again and again during long work; whatever it raises gives the work up.
Tick = Callable[[], object]


def no_tick() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Window:
    """Part of a recording from start_s to end_s, int16 samples; a silent one has none."""

    start_s: float
    end_s: float
    samples: NDArray[np.int16]


def condition(
    waveform: NDArray[np.float32], *, sample_rate: int, denoise: float | None, **settings: Any
) -> tuple[NDArray[np.int16], Kept]:
    """Denoise, trim and level a waveform, as stages.audio.reading.read_file does to a recording.

    Parameters
    ----------
    waveform : float32 [samples]
        mono, finite, at `sample_rate`
    sample_rate, denoise
        in Hz; see stages.audio.sound.denoised
    settings
        see stages.audio.conditioning.keep

    Returns
    -------
    int16 [samples], Kept
        no samples if the waveform is silent or too short
    """
    with Sound(sample_rate=sample_rate, folder=None) as sound:
        sound.fill(denoised([waveform], sample_rate=sample_rate, denoise=denoise))
        kept = keep(sound, sample_rate=sample_rate, **settings)
        blocks = sound.blocks(kept.first, kept.stop)
        samples = [np.zeros(0, np.int16), *(to_int16(block, gain=kept.gain) for block in blocks)]
    return np.concatenate(samples), kept


def read_windows(
    path: str | Path,
    *,
    window_s: float,
    hop_s: float | None = None,
    tick: Tick = no_tick,
    **conditioning: Any,
) -> Iterator[Window]:
    """Decode and condition a file window by window, in memory that does not grow with its length.

    A file of up to `window_s` is one window, equal to the clip that stages.audio.reading.read_file
    makes of it. Each window of a longer file is conditioned by itself.

    Parameters
    ----------
    path : path
    window_s : float
        longest window
    hop_s : float or None
        from the start of one window to the start of the next, at most window_s; the last window
        ends with the file and may be shorter. None: windows of equal length side by side
    tick : callable
        see Tick; called before each window, silent ones too
    conditioning
        see `condition`

    Yields
    ------
    Window

    Raises
    ------
    ValueError
        with the reason, as stages.audio.reading.read_file gives it. A fault may show only at the
        end of a file, so use no result before the last window
    """
    # If no window can be used, the one that came nearest says why.
    best = Kept()
    tally = Tally()
    rate = conditioning["sample_rate"]
    with opened(path) as file:
        # Few samples of a low rate become many: a block is short in time as well.
        blocks = read_blocks(file, tally=tally, at_most_s=window_s)
        blocks = resampled(blocks, rate_hz=file.samplerate, sample_rate=rate)
        if hop_s is None:
            samples = round(file.frames(lambda _: tick()) * rate / file.samplerate)
            number = max(1, math.ceil(samples / (window_s * rate)))
            windows = _cut(blocks, number=number, length=samples // number)
        else:
            length, hop = (max(1, round(seconds * rate)) for seconds in (window_s, hop_s))
            windows = _roll(blocks, length=length, hop=hop)
        for start, waveform in windows:
            tick()
            samples, kept = condition(waveform, **conditioning)
            best = max(kept, best, key=lambda part: (part.duration_s, part.peak))
            yield Window(start / rate, (start + len(waveform)) / rate, samples)
        least = conditioning["min_duration_s"]
        reason = short(tally.samples / file.samplerate, min_duration_s=least) or best.excluded
    if reason:
        raise ValueError(reason)


def _cut(
    blocks: Iterator[np.ndarray], *, number: int, length: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Cut all samples into windows of one length; the last one takes the rest.

    Yields the number of the first sample of each window, and the window.
    """
    held, start = np.zeros(0, np.float32), 0
    for block in blocks:
        held = np.concatenate([held, block])
        while number > 1 and len(held) >= length:
            yield start, held[:length]
            held, number, start = held[length:], number - 1, start + length
    yield start, held


def _roll(
    blocks: Iterator[np.ndarray], *, length: int, hop: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Cut a window every `hop` samples, until one reaches the end.

    Yields the number of the first sample of each window, and the window.
    """
    held, start = np.zeros(0, np.float32), 0
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) > length:
            yield start, held[:length]
            held, start = held[hop:], start + hop
    yield start, held
