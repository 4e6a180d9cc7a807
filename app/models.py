"""A trained model: the exported file, which needs no torch, or a checkpoint."""

from __future__ import annotations

import json
import logging
import reprlib
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app.onnx_files import read_graph
from app.trials import try_out
from stages.audio.store import FULL_SCALE
from stages.learning.model_facts import (
    check_audio,
    check_labels,
    chirp,
    is_number,
    is_text,
    reason,
    require,
)
from stages.learning.speaker_statistics import SpeakerStatistics
from stages.running.code import ROOT
from stages.settings.checks import named

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

log = logging.getLogger(__name__)
#: The file that `dvc repro` exports, in the folder where a program runs.
MODEL = Path("models/export/inflect.onnx")
#: What the stage `export` says of it.
_REPORT = Path("reports/export.json")
#: The file that comes with this project, wherever a program runs; see its model card.
PRETRAINED = ROOT / "models/pretrained/inflect.int8.onnx"
#: What programs say of their option `--model`.
DEFAULT = f"default: {MODEL} if it was trained on real speech, else {PRETRAINED.relative_to(ROOT)}"
_CHECKPOINT = ".pt"
_CHECKOUT_S = 0.2  # `dvc checkout` removes a file milliseconds before it links another
_SUM_BOUND = 1e-3  # distance of the sum of probabilities from 1

#: Metadata of a file that programs show, by type.
_TEXTS, _LISTS = ("model", "speech", "protocol"), ("corpora", "outside_the_graph")
_FRACTIONS = ("ua", "ua_low", "ua_high")
#: Mean and standard deviation of a voice, float [dimensions] each; see app.profiles.
Speaker = tuple[NDArray[np.floating], NDArray[np.floating]]


@dataclass(frozen=True)
class Model:
    """A model that recognises the emotion of waveforms.

    Attributes
    ----------
    labels : list of str
    audio : dict
        the settings of app.windows.condition used in training
    facts : mapping
        metadata of the file (`ua`, `corpora`, ...); empty for a checkpoint
    run : callable
        returns the probabilities, float [labels], of a conditioned waveform in [-1, 1], float32
        [samples], and its vector, float [dimensions], which is empty unless the model is
        calibrated; several threads may call it. Its second argument is a Speaker, or None
    statistics : SpeakerStatistics or None
        what the training speakers tell about a new one; None: the model is not calibrated
    """

    labels: list[str]
    audio: dict[str, Any]
    facts: Mapping[str, Any]
    run: Callable[[NDArray[np.float32], Speaker | None], tuple[NDArray, NDArray]]
    statistics: SpeakerStatistics | None = None

    def answer(
        self, samples: NDArray[np.int16], speaker: Speaker | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Compute probabilities and vector of a conditioned waveform, int16 [samples]; see `run`.

        Without a speaker, a calibrated model takes the voice for the average one.

        Raises
        ------
        ValueError
            if the model fails, or returns no probabilities of its labels, or no vector
        """
        waveform = samples.astype(np.float32) / np.float32(FULL_SCALE)
        try:
            found = self.run(waveform, speaker)
        except (ImportError, MemoryError):
            raise
        except Exception as error:  # libraries have many kinds
            raise ValueError(f"the model fails: {reason(error)}") from error
        probabilities, vector = (np.asarray(array, np.float64) for array in found)
        fine = probabilities.shape == (len(self.labels),) and bool(
            (probabilities >= -_SUM_BOUND).all() and abs(probabilities.sum() - 1) < _SUM_BOUND
        )
        want = f"{len(self.labels)} probabilities whose sum is 1"
        require("answer of the model", probabilities.tolist(), fine, want)
        size = self.statistics.mean.shape if self.statistics else (0,)
        fine = vector.shape == size and bool(np.isfinite(vector).all())
        require("vector of the model", vector.tolist(), fine, f"{size[0]} finite numbers")
        return probabilities, vector

    def probabilities(
        self, samples: NDArray[np.int16], speaker: Speaker | None = None
    ) -> NDArray[np.float64]:
        """Compute the probabilities [labels] of a conditioned waveform, int16 [samples]."""
        return self.answer(samples, speaker)[0]

    def represent(self, samples: NDArray[np.int16]) -> NDArray[np.float64]:
        """Compute the vector [dimensions] of a conditioned waveform, which no speaker changes."""
        return self.answer(samples)[1]

    def mean(
        self, windows: Iterable[NDArray[np.int16]], speaker: Speaker | None = None
    ) -> NDArray[np.float64] | None:
        """Average the probabilities [labels] of windows by their length; None if all are empty."""
        total, samples = np.zeros(len(self.labels)), 0
        for window in windows:
            if len(window):
                total += len(window) * self.probabilities(window, speaker)
                samples += len(window)
        return total / samples if samples else None


def default_model() -> Path:
    """Choose the exported file of the last run, unless it heard the demo's synthetic voices alone.

    Then, or without a run, the file that comes along answers, and a warning says so.
    """
    if MODEL.is_file():
        report = json.loads(_REPORT.read_text(encoding="utf-8")) if _REPORT.is_file() else {}
        if report.get("metadata", {}).get("speech") != "synthetic":
            return MODEL
    if not PRETRAINED.is_file():
        return MODEL
    log.warning("%s answers: nothing was trained on real speech here", PRETRAINED)
    return PRETRAINED


def load_model(path: str | Path) -> Model:
    """Load inflect.onnx, inflect.int8.onnx or, with torch, a checkpoint models/folds/<job>.pt.

    The file may be somebody else's: it is checked, and answers a second of sound in a copy of this
    process first, where it may take no more than some time and memory.

    Raises
    ------
    FileNotFoundError
        if the file does not exist, with the command that makes it
    ValueError
        if the file is not one of these, or its model does not answer as it should
    """
    path = Path(path)
    if not path.is_file():
        time.sleep(_CHECKOUT_S)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; `dvc repro` makes {MODEL} of any network, but not of svm, "
            "lda_functionals or ensemble; with export=false use --model "
            "models/folds/fold_all-seed_0.pt of a network"
        )
    if path.suffix == _CHECKPOINT:
        import torch  # takes seconds to import, and the exported file does not need it

        from stages.learning import recogniser  # noqa: F401  also for the copy of this process

        torch.set_num_threads(1)  # app.predict has a thread per file
        load = partial(_from_checkpoint, path)
    else:
        import onnxruntime  # noqa: F401  also for the copy of this process

        with named(path):
            load = partial(_from_onnx, path, read_graph(path))

    def answer() -> None:
        """Answer a second of sound, of the average voice and of a known one."""
        model = load()
        samples = chirp(model.audio["sample_rate"])
        with named(path):
            model.answer(samples)
            if model.statistics:
                mean = model.statistics.mean
                model.answer(samples, (mean, np.ones_like(mean)))

    try_out(answer, name=path)
    return load()


def _from_checkpoint(path: Path) -> Model:
    import torch

    from stages.learning.recogniser import load_recogniser

    recogniser, audio = load_recogniser(path)
    lock = Lock() if recogniser.head else nullcontext()

    def run(waveform: NDArray[np.float32], speaker: Speaker | None) -> tuple[NDArray, NDArray]:
        # Inference mode applies to this thread only, while all threads share the last vectors.
        with lock, torch.inference_mode():
            logits, vectors = recogniser.answer(torch.from_numpy(waveform)[None], speaker)
            return logits[0].double().softmax(dim=0).numpy(), vectors[0].numpy()

    statistics = recogniser.head.statistics if recogniser.head else None
    return Model(recogniser.labels, audio, {}, run, statistics)


def _from_onnx(path: Path, graph: bytes) -> Model:
    with named(path):
        return _of_session(_session(graph))


def _session(graph: bytes) -> InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # 8-bit weights become float32 once, when the file is loaded, and not for each answer.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no other base class
        want = "want a file that Inflect exported"
        raise ValueError(f"cannot be loaded: {reason(error)}; {want}") from error


def _of_session(session: InferenceSession) -> Model:
    facts = _facts(session.get_modelmeta().custom_metadata_map)
    inputs = [node.name for node in session.get_inputs()]
    outputs = {node.name: node.type for node in session.get_outputs()}
    wanted = ["probabilities"]
    if "speaker_statistics" in facts:
        wanted.append("representation")
    floats = {outputs.get(name) for name in wanted} == {"tensor(float)"}
    if inputs != ["waveform"] or not floats or "labels" not in facts:
        raise ValueError(
            f"not a model of Inflect: got inputs {reprlib.repr(inputs)} and outputs "
            f"{reprlib.repr(outputs)}, want waveform and {', '.join(wanted)} as tensor(float), "
            "with labels as metadata"
        )
    try:
        audio = check_audio(facts.get("audio", {}))
    except ValueError as error:
        raise ValueError(f"{error}; export it again with `dvc repro`") from error
    found = facts.pop("speaker_statistics", None)
    statistics = None if found is None else SpeakerStatistics.from_json(found)

    def run(waveform: NDArray[np.float32], speaker: Speaker | None) -> tuple[NDArray, NDArray]:
        names = ("speaker_mean", "speaker_std")
        known = {name: v.astype(np.float32) for name, v in zip(names, speaker or (), strict=False)}
        answers = [a[0] for a in session.run(wanted, {"waveform": waveform[None], **known})]
        return answers[0], answers[1] if statistics else np.zeros(0)

    return Model(check_labels(facts["labels"]), audio, facts, run, statistics)


def _facts(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Parse and check the metadata of a file: all values but texts were written as JSON."""
    facts = {key: text if key in _TEXTS else _parsed(text) for key, text in metadata.items()}
    for key, value in facts.items():
        if key in _TEXTS:
            require(key, value, is_text(value, longest=1000), "a short text")
        elif key in _LISTS:
            fine = isinstance(value, list) and all(is_text(text) for text in value)
            require(key, value, fine, "a list of short texts")
        elif key in _FRACTIONS:
            require(key, value, is_number(value, low=0, high=1), "0 to 1")
    return facts


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
