"""Ask a model or a command for the emotion of many files, several at a time, and resume."""

from __future__ import annotations

import json
import math
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from stages.audio.decoding import Tally, opened, read_blocks, resampled
from stages.audio.store import FULL_SCALE
from stages.learning.model_facts import chirp
from stages.running.entry import first_line
from stages.settings.checks import check, named

#: What stands for the file in a command.
PLACE = "{file}"
#: Stop if none of the first files has an answer: the command itself is wrong.
_HOPELESS = 10

Ask = Callable[[Path], Mapping[str, Any]]


def ask_all(files: Mapping[str, Path], ask: Ask, *, journal: Path, jobs: int) -> pd.DataFrame:
    """Ask for each file once, and keep every answer at once, so that a later call goes on.

    Parameters
    ----------
    files : mapping
        path of each clip
    ask : callable
        takes a path; returns `label`, or probabilities by label as `p_<label>`; raises ValueError
    journal : Path
        one line of JSON per clip: clip, seconds, and the answer or `error`; those without an error
        are not asked again
    jobs : int
        files that are asked for at a time

    Returns
    -------
    DataFrame
        clip, seconds, and columns of the answers; files without an answer are left out

    Raises
    ------
    ValueError
        with the first reason, if none of the first files has an answer
    """
    done = _read(journal)
    waiting = {clip: path for clip, path in files.items() if clip not in done}
    journal.parent.mkdir(parents=True, exist_ok=True)
    if journal.is_file() and not journal.read_bytes().endswith(b"\n"):
        with journal.open("a", encoding="utf-8") as lines:
            lines.write("\n")  # after a line that was cut off

    def answer(clip: str) -> dict[str, Any]:
        start = time.perf_counter()
        try:
            row = dict(ask(waiting[clip]))
        except ValueError as error:
            row = {"error": str(error)}
        return {"clip": clip, "seconds": round(time.perf_counter() - start, 3), **row}

    errors: list[dict] = []
    with journal.open("a", encoding="utf-8") as lines, ThreadPoolExecutor(jobs) as pool:
        rows = pool.map(answer, waiting)
        for row in tqdm(rows, total=len(waiting), desc="ask", unit="clip", disable=None):
            lines.write(json.dumps(row) + "\n")
            lines.flush()
            if "error" not in row:
                done[row["clip"]] = row
                continue
            errors.append(row)
            if not done and len(errors) >= min(_HOPELESS, len(files)):
                pool.shutdown(wait=False, cancel_futures=True)
                first = errors[0]
                raise ValueError(
                    f"none of the first {len(errors)} files has an answer; {first['clip']}: "
                    f"{first['error']}"
                )
    return pd.DataFrame([done[clip] for clip in files if clip in done])


def _read(journal: Path) -> dict[str, dict]:
    """Answers of an earlier call, by clip; a line that was cut off is asked for again."""
    done = {}
    if journal.is_file():
        for line in journal.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if "error" not in row:
                done[row["clip"]] = row
    return done


def asks_command(command: str, *, timeout_s: float) -> Ask:
    """Ask a command, which prints a label or JSON.

    Parameters
    ----------
    command : str
        its words, as in a shell; PLACE stands for the file. No shell runs it
    timeout_s : float
        after which it is stopped

    Raises
    ------
    ValueError
        if PLACE is missing
    """
    words = shlex.split(command)
    check("--command", command, any(PLACE in word for word in words), f"a command with {PLACE}")
    check("--timeout", timeout_s, 0 < timeout_s < math.inf, "more than 0 seconds")

    def ask(path: Path) -> Mapping[str, Any]:
        own = [word.replace(PLACE, str(path)) for word in words]
        try:
            done = subprocess.run(
                own,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                text=True,
                errors="replace",
            )
        except subprocess.TimeoutExpired:
            raise ValueError(f"no answer within {timeout_s:g} s") from None
        except OSError as error:
            raise ValueError(f"{own[0]}: {error.strerror}") from error
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise ValueError(f"exit code {done.returncode}: {said[-1] if said else 'no message'}")
        return parse_answer(done.stdout)

    return ask


def parse_answer(text: str) -> dict[str, Any]:
    """Read what a command printed: JSON, or a label in the last line.

    JSON is an object, or a list of one: probabilities by label, perhaps below `probabilities`, or
    named `p_<label>`; else `label`, `emotion` or `prediction`.
    """
    lines = text.strip().splitlines()
    if not lines:
        raise ValueError("printed nothing, want a label or JSON")
    for candidate in (text, lines[-1]):
        try:
            found = json.loads(candidate)
            break
        except ValueError:
            found = None
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, dict):
        return {"label": found if isinstance(found, str) else lines[-1].strip()}
    chances = found.get("probabilities", found)
    if isinstance(chances, dict):
        numbers = {
            name.removeprefix("p_"): float(value)
            for name, value in chances.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        marked = {name for name in chances if name.startswith("p_")}
        if marked:
            numbers = {n: v for n, v in numbers.items() if f"p_{n}" in marked}
        if len(numbers) > 1:
            return {f"p_{name}": value for name, value in numbers.items()}
    for name in ("label", "emotion", "prediction", "predicted"):
        if isinstance(found.get(name), str):
            return {"label": found[name]}
    raise ValueError(f"printed {text.strip()[:80]!r}, want a label, or probabilities by label")


def asks_model(path: Path, *, classes: Sequence[str], sample_rate: int) -> Ask:
    """Ask an exported model of this project, or any ONNX graph that takes a waveform.

    Parameters
    ----------
    path : Path
    classes : sequence of str
        labels of the outputs of another project's graph, in their order; empty for an own model
    sample_rate : int
        that such a graph expects, in Hz

    Raises
    ------
    FileNotFoundError, ValueError
        if the file cannot be used
    """
    if not classes:
        from app.models import load_model
        from app.predict import predict

        model = load_model(path)

        def ask_own(file: Path) -> Mapping[str, Any]:
            (row,) = predict(model, file)
            if "error" in row:
                raise ValueError(row["error"])
            if row["emotion"] is None:
                raise ValueError("silent")
            return {name: value for name, value in row.items() if name.startswith("p_")}

        return ask_own
    return _asks_graph(path, classes=classes, sample_rate=sample_rate)


def _asks_graph(path: Path, *, classes: Sequence[str], sample_rate: int) -> Ask:
    import onnxruntime

    from app.trials import try_out

    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")

    def load() -> onnxruntime.InferenceSession:
        try:
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no other base class
            raise ValueError(f"{path}: cannot be loaded: {first_line(str(error))}") from error
        (first, *others) = session.get_inputs()
        fine = not others and len(first.shape) in (1, 2)
        wanted = "one input, a waveform [samples] or [batch, samples]"
        check(f"{path}: inputs", 1 + len(others), fine, wanted)
        return session

    def answer(session: onnxruntime.InferenceSession, samples: NDArray) -> NDArray[np.float64]:
        (first,) = session.get_inputs()
        waveform = samples if len(first.shape) == 1 else samples[None]
        try:
            values = np.asarray(session.run(None, {first.name: waveform})[0], float).reshape(-1)
        except Exception as error:
            raise ValueError(first_line(str(error))) from error
        if len(values) != len(classes) or not np.isfinite(values).all():
            raise ValueError(f"got {len(values)} values, want {len(classes)} finite ones")
        if (values < 0).any() or abs(values.sum() - 1) > 1e-3:  # logits
            values = np.exp(values - values.max())
            values /= values.sum()
        return values

    with named(path):  # it is somebody else's: a second of sound is answered in a copy first
        sound = chirp(sample_rate).astype(np.float32) / FULL_SCALE
        try_out(lambda: answer(load(), sound), name=path)
    session = load()

    def ask(file: Path) -> Mapping[str, Any]:
        with opened(file) as audio:
            blocks = read_blocks(audio, tally=Tally())
            samples = resampled(blocks, rate_hz=audio.samplerate, sample_rate=sample_rate)
            values = answer(session, np.concatenate(list(samples)))
        return {f"p_{name}": float(value) for name, value in zip(classes, values, strict=True)}

    return ask
