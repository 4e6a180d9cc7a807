"""A trained model: the exported file, which needs no torch, or a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.audio.conditioning import conditioning
from stages.audio.store import FULL_SCALE
from stages.learning.speaker_statistics import SpeakerStatistics

#: The file that `dvc repro` exports.
MODEL = Path("models/export/inflect.onnx")
#: The file that comes with this project; see its model card.
PRETRAINED = Path("models/pretrained/inflect.int8.onnx")
_CHECKPOINT = ".pt"


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
        """
        waveform = samples.astype(np.float32) / np.float32(FULL_SCALE)
        probabilities, vector = self.run(waveform, speaker)
        return np.asarray(probabilities, np.float64), np.asarray(vector, np.float64)

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


def load_model(path: str | Path) -> Model:
    """Load inflect.onnx, inflect.int8.onnx or, with torch, a checkpoint models/folds/<job>.pt.

    Raises
    ------
    FileNotFoundError
        if the file does not exist, with the command that makes it
    ValueError
        if the file is not one of these
    """
    path = Path(path)
    return _from_checkpoint(path) if path.suffix == _CHECKPOINT else _from_onnx(path)


def _from_checkpoint(path: Path) -> Model:
    import torch  # takes seconds to import, and the exported file does not need it

    from stages.learning.recogniser import load_recogniser

    torch.set_num_threads(1)  # app.predict has a thread per file
    recogniser, audio = load_recogniser(path)
    lock = Lock() if recogniser.head else nullcontext()

    def run(waveform: NDArray[np.float32], speaker: Speaker | None) -> tuple[NDArray, NDArray]:
        # Inference mode applies to this thread only, while all threads share the last vectors.
        with lock, torch.inference_mode():
            logits, vectors = recogniser.answer(torch.from_numpy(waveform)[None], speaker)
            return logits[0].double().softmax(dim=0).numpy(), vectors[0].numpy()

    statistics = recogniser.head.statistics if recogniser.head else None
    return Model(recogniser.labels, audio, {}, run, statistics)


def _from_onnx(path: Path) -> Model:
    import onnxruntime

    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; `dvc repro` makes {MODEL}, unless export=false: then use a "
            "checkpoint, such as --model models/folds/fold_all-seed_0.pt"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no other base class
        reason = str(error).splitlines()[0].rpartition(" : ")[2]
        raise ValueError(
            f"{path}: cannot be loaded: {reason}; want a file that Inflect exported"
        ) from error
    facts = {
        name: _parsed(text) for name, text in session.get_modelmeta().custom_metadata_map.items()
    }
    inputs = [node.name for node in session.get_inputs()]
    outputs = [node.name for node in session.get_outputs()]
    if inputs != ["waveform"] or "probabilities" not in outputs or "labels" not in facts:
        raise ValueError(
            f"{path}: not a model of Inflect: got inputs {', '.join(inputs)} and outputs "
            f"{', '.join(outputs)}, want waveform and probabilities, with labels as metadata"
        )
    try:
        audio = conditioning(facts.get("audio") or {})
    except ValueError as error:
        raise ValueError(f"{path}: {error}; export it again with `dvc repro`") from error

    found = facts.pop("speaker_statistics", None)
    statistics = found and SpeakerStatistics.from_json(found)
    wanted = ["probabilities", "representation"] if statistics else ["probabilities"]

    def run(waveform: NDArray[np.float32], speaker: Speaker | None) -> tuple[NDArray, NDArray]:
        names = ("speaker_mean", "speaker_std")
        known = {name: v.astype(np.float32) for name, v in zip(names, speaker or (), strict=False)}
        answers = session.run(wanted, {"waveform": waveform[None], **known})
        return answers[0][0], answers[1][0] if statistics else np.zeros(0)

    return Model(list(facts["labels"]), audio, facts, run, statistics)


def _parsed(text: str) -> Any:
    """Parse a text of the metadata: all values but strings were written as JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text
