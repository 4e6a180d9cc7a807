"""Excerpts of a recording, cut out while it is decoded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import SpooledTemporaryFile

import numpy as np

from stages.audio.decoding import MAX_S, AudioFile
from stages.audio.views import TOLERANCE_S

_SKIP = 1 << 18  # samples of all channels that are passed over at a time
_IN_MEMORY = 1 << 22  # bytes of sound that a later excerpt needs again; more lie in a file


def excerpts(
    file: AudioFile, times: Sequence[tuple[float, float]], *, folder: Path | None
) -> Iterator[AudioFile]:
    """Cut a file that is decoded once, as far as its last excerpt.

    Only what a later excerpt has in common with the one at hand is kept, on disk if it is long.

    Parameters
    ----------
    file : AudioFile
        just opened
    times : sequence of (float, float)
        start and end of each excerpt in seconds, in the order of the starts
    folder : Path or None
        of the temporary file; None for the system's own

    Yields
    ------
    AudioFile
        the samples from round(start * rate) to before round(end * rate), to be read before the next
        one is asked for. Reading raises ValueError if it lies outside the recording; an end may be
        late by TOLERANCE_S, since tables round.
    """
    with _Tape(file, folder=folder) as tape:
        starts = [round(start * file.samplerate) for start, _ in times]
        for (start, end), following in zip(times, [*starts[1:], None], strict=True):
            yield _excerpt(file, tape, start=start, end=end, following=following)


def _excerpt(
    file: AudioFile, tape: _Tape, *, start: float, end: float, following: int | None
) -> AudioFile:
    place, stop = round(start * file.samplerate), round(end * file.samplerate)
    tape.begin(place, keep=following is not None and following < stop)

    def read(count: int) -> np.ndarray:
        nonlocal place
        if end > MAX_S:
            raise ValueError(f"outside the recording: {_times(start, end)}, want under {MAX_S} s")
        count = min(count, stop - place)
        samples = tape.read(place, count)
        place += len(samples)
        late = stop - place > TOLERANCE_S * file.samplerate
        if len(samples) < count and (late or place <= round(start * file.samplerate)):
            length = tape.done / file.samplerate
            raise ValueError(
                f"outside the recording: {_times(start, end)}, want an end at most {length:.3f} s"
            )
        return samples

    return AudioFile(file.path, file.samplerate, file.channels, stop - place, read)


def _times(start: float, end: float) -> str:
    return f"got start {start:g} s and end {end:g} s"


class _Tape:
    """What was decoded of a file and is needed again.

    Attributes
    ----------
    done : int
        samples per channel that were decoded so far
    """

    def __init__(self, file: AudioFile, *, folder: Path | None) -> None:
        self.done = 0
        self._file, self._first, self._keep = file, 0, False
        self._error: ValueError | None = None
        place = None if folder is None else str(folder)
        self._kept = SpooledTemporaryFile(_IN_MEMORY, dir=place)  # noqa: SIM115 (closed by __exit__)

    def __enter__(self) -> _Tape:
        return self

    def __exit__(self, *error: object) -> None:
        self._kept.close()

    def begin(self, place: int, *, keep: bool) -> None:
        """Forget what lies before an excerpt that shares nothing with it.

        `keep` says whether a later excerpt needs what is decoded from now on.
        """
        if place >= self.done:
            self._kept.seek(0)
            self._kept.truncate()
            self._first = place
        self._keep = (self._keep and place < self.done) or keep

    def read(self, place: int, count: int) -> np.ndarray:
        """Return `count` samples per channel from a place on, fewer at the end of the file."""
        parts = []
        if place < self.done:
            size = 4 * self._file.channels
            self._kept.seek(size * (place - self._first))
            kept = self._kept.read(size * min(count, self.done - place))
            parts.append(np.frombuffer(kept, np.float32).reshape(-1, self._file.channels))
            count -= len(parts[0])
        while self.done < place and len(self._decode(min(place - self.done, self._step()))):
            pass
        while count and self.done >= place and len(samples := self._decode(count)):
            if self._keep:
                self._kept.seek(0, 2)
                self._kept.write(np.ascontiguousarray(samples, np.float32).data)
            parts.append(samples)
            count -= len(samples)
        return np.concatenate(parts) if parts else np.zeros((0, self._file.channels), np.float32)

    def _step(self) -> int:
        return max(1, _SKIP // self._file.channels)

    def _decode(self, count: int) -> np.ndarray:
        if self._error:
            raise self._error
        try:
            samples = self._file.read(count)
        except ValueError as error:
            self._error = error
            raise
        self.done += len(samples)
        return samples
