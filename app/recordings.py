"""What a visitor of the page gave, answered; or refused before it is decoded, if it is too much."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.models import Model
from app.predict import predict
from stages.audio.decoding import Tally, opened, read_blocks, resampled
from stages.corpora.emodb import EMOTIONS
from stages.synthesis.demo_corpora import write_corpus

#: Largest file in MB, and longest recording in seconds.
MOST_MB, MOST_S = 20, 600
#: Answers over time: how long each window is, and from the start of one to the next, in seconds.
WINDOW_S, HOP_S = 3.0, 0.5


@dataclass(frozen=True)
class Recording:
    """A file in memory: its name, its size in bytes, and what gives its content."""

    name: str
    size: int
    content: Callable[[], bytes]


@dataclass(frozen=True)
class Answered:
    """What was made of a recording: emotion and p_<label>, or error; the same of each window; its
    samples, float32 at sample_rate, None of one that cannot be used."""

    row: dict
    over_time: list[dict] = field(default_factory=list)
    waveform: NDArray[np.float32] | None = None
    sample_rate: int = 0


def answer(recording: Recording, *, model: Model) -> Answered:
    """Answer for a recording; it lies in a temporary file meanwhile, and nowhere afterwards.

    Parameters
    ----------
    recording : Recording
    model : Model

    Returns
    -------
    Answered
        with an error if the file is over MOST_MB, or by its header over MOST_S, neither of which
        decodes it, or cannot be used
    """
    if recording.size > MOST_MB * 1e6:
        size = f"{recording.size / 1e6:.0f} MB"
        return Answered({"error": f"too large: {size}, want at most {MOST_MB} MB"})
    rate = model.audio["sample_rate"]
    with tempfile.NamedTemporaryFile() as file:
        file.write(recording.content())
        file.flush()
        try:
            with opened(file.name) as sound:
                seconds = sound.frames / sound.samplerate
                if seconds > MOST_S:
                    length = f"{seconds / 60:.0f} minutes"
                    return Answered(
                        {"error": f"too long: {length}, want at most {MOST_S // 60} minutes"}
                    )
                blocks = read_blocks(sound, tally=Tally())
                blocks = resampled(blocks, rate_hz=sound.samplerate, sample_rate=rate)
                waveform = np.concatenate(list(blocks))
        except ValueError as error:
            return Answered({"error": str(error)})
        (row,) = predict(model, file.name)
        del row["file"]
        if "error" in row:
            return Answered(row)
        windows = predict(model, file.name, window_s=WINDOW_S, hop_s=HOP_S)
    return Answered(row, windows, waveform, rate)


def example_recordings() -> dict[str, bytes]:
    """One synthetic voice of the demo, as WAV files by the emotion that it was told to express."""
    with tempfile.TemporaryDirectory() as folder:
        write_corpus("emodb", folder=Path(folder), speakers=1, sentences=1)
        files = sorted(Path(folder).rglob("*.wav"))
        return {EMOTIONS[file.stem[5]]: file.read_bytes() for file in files}
