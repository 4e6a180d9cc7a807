"""Answers for the recordings of a visitor of the page, with limits on their size and duration."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.models import Model, Speaker
from app.predict import predict
from app.profiles import Profile, enrol
from stages.audio.decoding import Tally, opened, read_blocks, resampled
from stages.corpora.emodb import EMOTIONS
from stages.synthesis.demo_corpora import write_corpus

#: Largest file in MB, and longest recording in seconds.
MAX_MB, MAX_S = 20, 600
#: Duration of the windows over time and distance of their starts, in seconds.
WINDOW_S, HOP_S = 3.0, 0.5


@dataclass(frozen=True)
class Recording:
    """A file in memory: its name, its size in bytes, and a function that returns its content."""

    name: str
    size: int
    content: Callable[[], bytes]


@dataclass(frozen=True)
class Answered:
    """The answer for a recording.

    Attributes
    ----------
    row : dict
        emotion and p_<label>; or error, if the recording cannot be used
    average : dict or None
        the same for the average voice, where another one is known
    over_time : list of dict
        the same for each window
    waveform : float32 [samples]
        mono, at sample_rate; empty if the recording cannot be used
    sample_rate : int
        in Hz
    """

    row: dict
    average: dict | None = None
    over_time: list[dict] = field(default_factory=list)
    waveform: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    sample_rate: int = 0


def answer(recording: Recording, *, model: Model, speaker: Speaker | None = None) -> Answered:
    """Recognise the emotion of a recording, which is kept only in a temporary file meanwhile.

    Parameters
    ----------
    recording : Recording
    model : Model
    speaker : Speaker or None
        whose voice it is; None: the average one

    Returns
    -------
    Answered
        with an error if the file cannot be used; one larger than MAX_MB, or by its header longer
        than MAX_S, is not decoded
    """
    if recording.size > MAX_MB * 1e6:
        size = f"{recording.size / 1e6:.0f} MB"
        return Answered({"error": f"too large: {size}, want at most {MAX_MB} MB"})
    rate = model.audio["sample_rate"]
    with tempfile.NamedTemporaryFile() as file:
        file.write(recording.content())
        file.flush()
        try:
            with opened(file.name) as sound:
                seconds = sound.frames / sound.samplerate
                if seconds > MAX_S:
                    length = f"{seconds / 60:.0f} minutes"
                    return Answered(
                        {"error": f"too long: {length}, want at most {MAX_S // 60} minutes"}
                    )
                blocks = read_blocks(sound, tally=Tally())
                blocks = resampled(blocks, rate_hz=sound.samplerate, sample_rate=rate)
                waveform = np.concatenate(list(blocks))
        except ValueError as error:
            return Answered({"error": str(error)})
        (row,) = predict(model, file.name, speaker=speaker)
        del row["file"]
        if "error" in row:
            return Answered(row)
        average = predict(model, file.name)[0] if speaker else None
        windows = predict(model, file.name, window_s=WINDOW_S, hop_s=HOP_S, speaker=speaker)
    return Answered(row, average, windows, waveform, rate)


def get_used_to(recordings: Sequence[Recording], *, model: Model) -> tuple[Profile, list[str]]:
    """Learn how a voice usually sounds; see app.profiles.enrol. No recording is kept."""
    with tempfile.TemporaryDirectory() as folder:
        files, faults = {}, []
        for number, recording in enumerate(recordings):
            if recording.size > MAX_MB * 1e6:
                faults.append(f"{recording.name}: too large, want at most {MAX_MB} MB")
                continue
            path = str(Path(folder, str(number)))
            Path(path).write_bytes(recording.content())
            files[path] = recording.name
        try:
            profile, messages = enrol(model, [(path, "") for path in files])
        except ValueError as error:
            profile, messages = Profile.empty(model), str(error).splitlines()[:-1]
        for path, name in files.items():
            messages = [message.replace(f"{path}:", f"{name}:") for message in messages]
    return profile, faults + messages


def example_recordings() -> dict[str, bytes]:
    """Synthesise one voice of the demo in each emotion; WAV files by emotion."""
    with tempfile.TemporaryDirectory() as folder:
        write_corpus("emodb", folder=Path(folder), speakers=1, sentences=1)
        files = sorted(Path(folder).rglob("*.wav"))
        return {EMOTIONS[file.stem[5]]: file.read_bytes() for file in files}
