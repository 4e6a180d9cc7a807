"""Answers for the recordings of a visitor of the page, with limits on their size and duration."""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.models import Model, Speaker
from app.predict import predict
from app.profiles import Profile, enrol
from app.windows import Tick, no_tick
from stages.audio.decoding import Tally, opened, read_blocks, resampled
from stages.corpora.emodb import EMOTIONS
from stages.synthesis.demo_corpora import write_corpus

#: Largest file in MB, longest recording in seconds, and its samples in all channels, in millions:
#: 10 minutes at 96 kHz in two channels, which takes seconds to decode.
MAX_MB, MAX_S, MAX_MILLIONS = 20, 600, 120
#: Duration of the windows over time and distance of their starts, in seconds.
WINDOW_S, HOP_S = 3.0, 0.5
_POLL_S = 0.1


class Turns:
    """A queue of visitors, of whom a few are served at a time."""

    def __init__(self, at_a_time: int) -> None:
        self._at_a_time = at_a_time
        self._tickets: list[threading.Event] = []

    @contextmanager
    def turn(self, waits: Callable[[int], object]) -> Iterator[None]:
        """Wait for one's turn, and take it until the end of the block.

        Parameters
        ----------
        waits : callable
            told one's place in the queue, 1 for the next, while one waits; what it raises leaves
            the queue
        """
        ticket = threading.Event()
        self._tickets.append(ticket)
        try:
            while (place := self._tickets.index(ticket) + 1 - self._at_a_time) > 0:
                waits(place)
                ticket.wait(_POLL_S)
            yield
        finally:
            self._tickets.remove(ticket)
            for following in self._tickets[: self._at_a_time]:
                following.set()


@cache
def visitors() -> Turns:
    """The queue of all visitors of the page, one for each core at a time.

    It lives as long as the process: what Streamlit caches, a visitor can clear.
    """
    return Turns(os.cpu_count() or 1)


@dataclass(frozen=True)
class Recording:
    """A file in memory: its name, its size in bytes, and a function that returns its content."""

    name: str
    size: int
    content: Callable[[], bytes]

    def digest(self) -> str:
        """Identify the content; of a file that is too large, only the size matters."""
        large = self.size > MAX_MB * 1e6
        return str(self.size) if large else hashlib.sha256(self.content()).hexdigest()


@dataclass(frozen=True)
class Answered:
    """The answer for a recording.

    Attributes
    ----------
    row : dict
        emotion and p_<label>; or error, if the recording cannot be used
    average : dict or None
        the same for the average voice, where another one is known
    """

    row: dict
    average: dict | None = None


@dataclass(frozen=True)
class Details:
    """What is shown of one recording besides its answer.

    Attributes
    ----------
    over_time : list of dict
        emotion and p_<label> for each window
    waveform : float32 [samples]
        mono, at sample_rate
    sample_rate : int
        in Hz
    """

    over_time: list[dict]
    waveform: NDArray[np.float32]
    sample_rate: int


def answer(
    recording: Recording, *, model: Model, speaker: Speaker | None = None, tick: Tick = no_tick
) -> Answered:
    """Recognise the emotion of a recording.

    Parameters
    ----------
    recording : Recording
        kept on disk only in a file without a name meanwhile
    model : Model
    speaker : Speaker or None
        whose voice it is; None: the average one
    tick : callable
        see app.windows.Tick

    Returns
    -------
    Answered
        with an error if the file cannot be used, see `stored`
    """
    try:
        with stored(recording, tick=tick) as path:
            (row,) = predict(model, path, speaker=speaker, tick=tick)
            del row["file"]
            if "error" in row or speaker is None:
                return Answered(row)
            return Answered(row, predict(model, path, tick=tick)[0])
    except ValueError as error:
        return Answered({"error": str(error)})


def details(
    recording: Recording, *, model: Model, speaker: Speaker | None = None, tick: Tick = no_tick
) -> Details:
    """Recognise the emotion of each window of a recording that has an answer; see `answer`."""
    rate, waveform = model.audio["sample_rate"], []
    with stored(recording, tick=tick) as path:
        with opened(path) as sound:
            blocks = read_blocks(sound, tally=Tally())
            for block in resampled(blocks, rate_hz=sound.samplerate, sample_rate=rate):
                tick()
                waveform.append(block)
        windows = predict(model, path, window_s=WINDOW_S, hop_s=HOP_S, speaker=speaker, tick=tick)
    usable = [row for row in windows if "error" not in row]
    return Details(usable, np.concatenate(waveform), rate)


@contextmanager
def stored(recording: Recording, *, tick: Tick = no_tick) -> Iterator[str]:
    """Write a recording to a file without a name, which ends with this process at the latest.

    Parameters
    ----------
    recording : Recording
    tick : callable
        see app.windows.Tick; called while a file is measured whose header does not tell its length

    Yields
    ------
    str
        a path by which this process can open the file

    Raises
    ------
    ValueError
        if the recording is larger than MAX_MB, longer than MAX_S, has more samples than
        MAX_MILLIONS, or cannot be decoded or stored. Of such a one, nothing is decoded if its
        header tells its length, and else no more than the limit
    """
    if recording.size > MAX_MB * 1e6:
        raise ValueError(f"too large: {recording.size / 1e6:.0f} MB, want at most {MAX_MB} MB")
    with ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile())
            file.write(recording.content())
            file.flush()
        except OSError as error:
            raise ValueError(f"cannot be stored meanwhile: {error.strerror}") from error
        path = f"/dev/fd/{file.fileno()}"
        with opened(path) as sound:

            def watch(samples: int) -> None:
                tick()
                _check_length(samples, rate_hz=sound.samplerate, channels=sound.channels)

            sound.frames(watch)
        yield path


def _check_length(samples: int, *, rate_hz: int, channels: int) -> None:
    seconds, millions = samples / rate_hz, samples * channels / 1e6
    if seconds > MAX_S:
        minutes = math.ceil(seconds / 6) / 10
        raise ValueError(f"too long: {minutes:g} minutes, want at most {MAX_S // 60} minutes")
    if millions > MAX_MILLIONS:
        raise ValueError(
            f"too many samples: {millions:.0f} million ({seconds:.0f} s at {rate_hz} Hz in "
            f"{channels} channels), want at most {MAX_MILLIONS} million"
        )


def get_used_to(
    recordings: Sequence[Recording], *, model: Model, tick: Tick = no_tick
) -> tuple[Profile, list[str]]:
    """Learn how a voice usually sounds; see app.profiles.enrol. No recording is kept."""

    def one_by_one() -> Iterator[tuple[str, str, str]]:
        for recording in recordings:
            with ExitStack() as stack:
                path, fault = "", ""
                try:
                    path = stack.enter_context(stored(recording, tick=tick))
                except ValueError as error:
                    fault = str(error)
                yield recording.name, path, fault

    try:
        return enrol(model, one_by_one(), tick=tick)
    except ValueError as error:
        return Profile.empty(model), str(error).splitlines()[:-1]


def example_recordings() -> dict[str, bytes]:
    """Synthesise one voice of the demo in each emotion; WAV files by emotion."""
    with tempfile.TemporaryDirectory() as folder:
        write_corpus("emodb", folder=Path(folder), speakers=1, sentences=1)
        files = sorted(Path(folder).rglob("*.wav"))
        return {EMOTIONS[file.stem[5]]: file.read_bytes() for file in files}
