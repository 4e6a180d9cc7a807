"""A trained model, ready to answer: the exported file, which needs no torch, or a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.audio.conditioning import conditioning
from stages.audio.store import FULL_SCALE

#: What `dvc repro` exports.
MODEL = Path("models/export/inflect.onnx")
_CHECKPOINT = ".pt"


@dataclass(frozen=True)
class Model:
    """What answers for waveforms.

    Attributes
    ----------
    labels : list of str
    audio : dict
        settings of app.windows.condition: those of training
    facts : mapping
        what the file says of itself: `ua`, `corpora` ...; empty of a checkpoint
    run : float32 [samples] -> float [labels]
        probabilities of one conditioned waveform in [-1, 1]; several threads may call it
    """

    labels: list[str]
    audio: dict[str, Any]
    facts: Mapping[str, Any]
    run: Callable[[NDArray[np.float32]], NDArray[np.floating]]

    def probabilities(self, samples: NDArray[np.int16]) -> NDArray[np.float64]:
        """Probabilities [labels] of a conditioned waveform, int16 [samples]."""
        waveform = samples.astype(np.float32) / np.float32(FULL_SCALE)
        return np.asarray(self.run(waveform), np.float64)

    def mean(self, windows: Iterable[NDArray[np.int16]]) -> NDArray[np.float64] | None:
        """Probabilities [labels], the mean over windows by their length; None if all are empty."""
        total, samples = np.zeros(len(self.labels)), 0
        for window in windows:
            if len(window):
                total += len(window) * self.probabilities(window)
                samples += len(window)
        return total / samples if samples else None


def load_model(path: str | Path) -> Model:
    """Load inflect.onnx, inflect.int8.onnx, or with torch a checkpoint models/folds/<job>.pt.

    Raises
    ------
    FileNotFoundError
        saying how to make the file
    ValueError
        if the file is not one of these, saying what it is
    """
    path = Path(path)
    return _from_checkpoint(path) if path.suffix == _CHECKPOINT else _from_onnx(path)


def _from_checkpoint(path: Path) -> Model:
    import torch  # takes seconds to import, and the exported file does not need it

    from stages.learning.recogniser import load_recogniser

    torch.set_num_threads(1)  # threads of our own answer for several files at a time
    recogniser, audio = load_recogniser(path)

    def run(waveform: NDArray[np.float32]) -> NDArray[np.float64]:
        with torch.inference_mode():  # of this thread
            logits = recogniser(torch.from_numpy(waveform)[None])[0]
            return logits.double().softmax(dim=0).numpy()

    return Model(recogniser.labels, audio, {}, run)


def _from_onnx(path: Path) -> Model:
    import onnxruntime

    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; `dvc repro` makes {MODEL}, unless export=false: then name a "
            "checkpoint, such as --model models/folds/fold_all-seed_0.pt"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own have no base class but this
        reason = str(error).splitlines()[0].rpartition(" : ")[2]
        raise ValueError(
            f"{path}: cannot be loaded: {reason}; want a file that Inflect exported"
        ) from error
    facts = {
        name: _parsed(text) for name, text in session.get_modelmeta().custom_metadata_map.items()
    }
    inputs, outputs = ([x.name for x in xs] for xs in (session.get_inputs(), session.get_outputs()))
    if inputs != ["waveform"] or "probabilities" not in outputs or "labels" not in facts:
        raise ValueError(
            f"{path}: not a model of Inflect: it takes {', '.join(inputs)} and gives "
            f"{', '.join(outputs)}, want waveform and probabilities, with labels as metadata"
        )
    try:
        audio = conditioning(facts.get("audio") or {})
    except ValueError as error:
        raise ValueError(f"{path}: {error}; export again with `dvc repro`") from error

    def run(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        return session.run(["probabilities"], {"waveform": waveform[None]})[0][0]

    return Model(list(facts["labels"]), audio, facts, run)


def _parsed(text: str) -> Any:
    """Metadata are texts; what is none was written as JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text
