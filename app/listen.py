"""Emotion of live speech: a rolling answer every quarter of a second.

python -m app.listen [--device N | --file FILE | -] [--window 3] [--step 0.25] [--format line|json]
    [--profile FILE] [--memory 600]

Listens to a microphone, to a file in real time, or (-) to raw samples from a pipe: 16 bits,
little-endian, mono. Each answer covers the last --window seconds, conditioned like a training clip;
silence has no emotion. The latency is the time from the arrival of the last samples to the answer.

A model that was trained with calibration to speakers gets used to the voice while it listens, and
says how many seconds of it it has heard.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from app.models import DEFAULT, Model, default_model, load_model
from app.predict import named
from app.profiles import Profile
from app.windows import condition
from stages.audio.decoding import Tally, opened, read_blocks, resampled
from stages.audio.loudness import rms_db
from stages.running.entry import run_command

_MAX_RATE_HZ = 768_000  # of any sound card
#: Time of arrival by time.perf_counter, and mono samples, float32 [samples].
Block = tuple[float, NDArray[np.float32]]
_NEEDS = "the library sounddevice: pip install sounddevice==0.5.6"


@dataclass(frozen=True)
class Answer:
    """An answer for the last window.

    Attributes
    ----------
    end_s : float
        end of the window, in seconds from the beginning of the stream
    probabilities : float64 [labels] or None
        None in silence
    latency_ms : float
        from the arrival of the last samples to the answer, in milliseconds
    heard_s : float or None
        seconds of speech by which the voice is known; None if the model is not calibrated
    """

    end_s: float
    probabilities: NDArray[np.float64] | None
    latency_ms: float
    heard_s: float | None = None


def listen(
    model: Model,
    blocks: Iterable[Block],
    *,
    rate_hz: int,
    window_s: float,
    gate_db: float | None = None,
    profile: Profile | None = None,
    memory_s: float = math.inf,
) -> Iterator[Answer]:
    """Answer after each block for the last window.

    Parameters
    ----------
    model : Model
    blocks : iterable of Block
        of any length; only the last window stays in memory
    rate_hz : int
        sample rate of the blocks
    window_s : float
        duration of a window
    gate_db : float or None
        windows with a lower root mean square, in dB relative to full scale, count as silent; None:
        only windows that training would have excluded
    profile : Profile or None
        of the voice, which each answer then heeds, and which learns from windows that ended before
        the present one began. None: the voice is the average one
    memory_s : float
        seconds of speech after which what was heard counts for half

    Yields
    ------
    Answer
    """
    rate = model.audio["sample_rate"]
    held, heard, arrived = np.zeros(0, np.float32), 0, 0.0
    waiting: deque[tuple[int, float, NDArray[np.float64]]] = deque()  # end, seconds, vector

    def waveforms() -> Iterator[NDArray[np.float32]]:
        nonlocal arrived
        for arrived, block in blocks:  # noqa: B007 (read below)
            yield block

    for block in resampled(waveforms(), rate_hz=rate_hz, sample_rate=rate):
        if not len(block):  # the filter of the resampler is not full yet, or is empty
            continue
        held, heard = np.concatenate([held, block])[-round(window_s * rate) :], heard + len(block)
        quiet = gate_db is not None and rms_db(held, full_scale=1.0) < gate_db
        samples = np.zeros(0, np.int16) if quiet else condition(held, **model.audio)[0]
        speaker = heard_s = None
        if profile:
            while waiting and waiting[0][0] <= heard - round(window_s * rate):
                _, seconds, vector = waiting.popleft()
                keep = 0.5 ** (seconds / memory_s)
                profile.add(vector, weight=seconds / window_s, keep=keep)
            speaker, heard_s = profile.speaker(model), profile.clips * window_s
        probabilities = None
        if len(samples):
            probabilities, vector = model.answer(samples, speaker)
            if profile:
                waiting.append((heard, len(block) / rate, vector))
        latency_ms = 1000 * (time.perf_counter() - arrived)
        yield Answer(heard / rate, probabilities, latency_ms, heard_s)


def from_file(path: str | Path, *, step_s: float) -> tuple[int, Iterator[Block]]:
    """Return the sample rate of a file and its blocks, in real time.

    Raises
    ------
    ValueError
        if the file cannot be used, with the reason; this may show only at its end
    """
    with opened(path) as file:
        rate_hz = file.samplerate

    def blocks() -> Iterator[Block]:
        start, seconds = time.perf_counter(), 0.0
        with opened(path) as file:
            for block in read_blocks(file, tally=Tally(), at_most_s=step_s):
                seconds += len(block) / rate_hz
                time.sleep(max(0.0, start + seconds - time.perf_counter()))
                yield time.perf_counter(), block

    return rate_hz, blocks()


def from_pipe(stream: BinaryIO, *, rate_hz: int, step_s: float) -> Iterator[Block]:
    """Yield blocks of raw int16 samples, little-endian and mono, until the stream ends."""
    size = 2 * max(1, round(step_s * rate_hz))
    while data := stream.read(size):
        samples = np.frombuffer(data[: len(data) // 2 * 2], "<i2")
        yield time.perf_counter(), samples.astype(np.float32) / np.float32(32768)


def from_microphone(device: int | None, *, step_s: float) -> tuple[int, Iterator[Block]]:
    """Return the sample rate of a microphone, and its blocks until the program is interrupted.

    Raises
    ------
    ValueError
        if there is no such device, or if a library is missing, with the command that installs it
    """
    try:
        import sounddevice
    except ImportError as error:
        raise ValueError(f"--device: want {_NEEDS}; or use --file or -") from error
    except OSError as error:  # sounddevice is installed, PortAudio is not
        raise ValueError(f"--device: {error}; want PortAudio (on Debian: libportaudio2)") from error
    try:
        rate_hz = int(sounddevice.query_devices(device, "input")["default_samplerate"])
    except (ValueError, sounddevice.PortAudioError) as error:
        devices = str(sounddevice.query_devices()) or "none"
        raise ValueError(f"--device: {error}; available devices:\n{devices}") from error
    queue: SimpleQueue[Block] = SimpleQueue()

    def record(samples: NDArray[np.float32], *_: Any) -> None:
        queue.put((time.perf_counter(), samples[:, 0].copy()))

    def blocks() -> Iterator[Block]:
        with sounddevice.InputStream(
            samplerate=rate_hz,
            blocksize=round(step_s * rate_hz),
            device=device,
            channels=1,
            dtype="float32",
            callback=record,
        ):
            while True:
                waiting = [queue.get()]
                while not queue.empty():  # slower than the step: one answer for all blocks
                    waiting.append(queue.get())
                yield waiting[-1][0], np.concatenate([samples for _, samples in waiting])

    return rate_hz, blocks()


def format_answer(answer: Answer, model: Model, *, form: str) -> str:
    """Format an answer as a line of text, or as a line of JSON."""
    facts = named(model, answer.probabilities)
    if form == "json":
        times = {"end_s": round(answer.end_s, 3), "latency_ms": round(answer.latency_ms, 1)}
        if answer.heard_s is not None:
            times["heard_s"] = round(answer.heard_s, 3)
        return json.dumps(times | facts)
    emotion = facts["emotion"]
    probability = facts[f"p_{emotion}"] if emotion else 0.0
    return (
        f"{answer.end_s:8.2f} s  {emotion or 'silence':<9} {probability:4.2f} "
        f"{'#' * round(20 * probability):<20} {answer.latency_ms:5.0f} ms"
        + ("" if answer.heard_s is None else f"  voice known by {answer.heard_s:.0f} s")
    )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "pipe", nargs="?", choices=["-"], help="read raw samples from standard input"
    )
    parser.add_argument("--device", type=int, metavar="N", help="number in python -m sounddevice")
    parser.add_argument("--file", type=Path, metavar="FILE", help="listen to a file")
    parser.add_argument(
        "--rate", type=int, metavar="HZ", help="of raw samples (default: that of the model)"
    )
    parser.add_argument("--model", type=Path, metavar="FILE", help=DEFAULT)
    parser.add_argument("--window", type=float, default=3.0, metavar="S", help="default: 3")
    parser.add_argument("--step", type=float, default=0.25, metavar="S", help="default: 0.25")
    parser.add_argument("--gate", type=float, metavar="DB", help="softer windows are silent")
    parser.add_argument(
        "--profile", type=Path, metavar="FILE", help="of the voice, which app.predict has made"
    )
    parser.add_argument(
        "--memory",
        type=float,
        default=600.0,
        metavar="S",
        help="seconds of speech after which what was heard counts for half; default: 600",
    )
    parser.add_argument("--format", choices=("line", "json"), default="line")
    arguments = parser.parse_args()
    inputs = (arguments.pipe, arguments.device, arguments.file)
    if sum(value is not None for value in inputs) > 1:
        parser.error("want only one of --device, --file and -")
    if not 0 < arguments.step <= arguments.window <= 60:
        parser.error(
            f"--step, --window: got {arguments.step:g} and {arguments.window:g}, want more than 0, "
            "a step of at most the window, and a window of at most 60"
        )
    if arguments.rate is not None and not 1 <= arguments.rate <= _MAX_RATE_HZ:
        parser.error(f"--rate: got {arguments.rate}, want 1 to {_MAX_RATE_HZ}")
    if arguments.gate is not None and not math.isfinite(arguments.gate):
        parser.error(f"--gate: got {arguments.gate:g}, want a number")
    if not arguments.memory > 0:
        parser.error(f"--memory: got {arguments.memory:g}, want more than 0")
    try:
        model, profile = load_model(arguments.model or default_model()), None
        if arguments.profile:
            profile = Profile.load(arguments.profile, model=model)
        elif model.statistics:
            profile = Profile.empty(model)
        if arguments.pipe:
            rate_hz = arguments.rate or model.audio["sample_rate"]
            blocks = from_pipe(sys.stdin.buffer, rate_hz=rate_hz, step_s=arguments.step)
        elif arguments.file:
            rate_hz, blocks = from_file(arguments.file, step_s=arguments.step)
        else:
            rate_hz, blocks = from_microphone(arguments.device, step_s=arguments.step)
        answers = listen(
            model,
            blocks,
            rate_hz=rate_hz,
            window_s=arguments.window,
            gate_db=arguments.gate,
            profile=profile,
            memory_s=arguments.memory,
        )
        in_place = arguments.format == "line" and sys.stdout.isatty()
        for answer in answers:
            line = format_answer(answer, model, form=arguments.format)
            print(f"\r{line}" if in_place else line, end="" if in_place else "\n", flush=True)
        if in_place:
            print()
    except KeyboardInterrupt:  # the way to stop listening
        print()
    except (FileNotFoundError, ValueError) as error:
        if not arguments.file:
            raise
        raise ValueError(f"{arguments.file}: {error}") from error


if __name__ == "__main__":
    run_command(main)
