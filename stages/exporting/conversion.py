"""Export of the network trained on every fold, with checks of the files."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from stages.exporting import parity
from stages.exporting.card import model_card
from stages.exporting.graph import open_session, to_onnx, with_int8_weights
from stages.learning.checkpoints import Job
from stages.learning.layers import input_layer, window_frames
from stages.learning.learner import described, is_network
from stages.learning.recogniser import Recogniser, load_recogniser
from stages.running.resources import check_disk
from stages.settings.loading import bind
from stages.splits.split_table import ALL

log = logging.getLogger(__name__)
FULL, INT8 = "inflect.onnx", "inflect.int8.onnx"
_HINT = "or run with -S export=false"


@dataclass(frozen=True)
class Exported:
    """The content of the files by name, and the report about them."""

    files: dict[str, bytes]
    report: dict[str, Any]


def check_exportable(settings: Mapping[str, Any]) -> None:
    """Check before training that a model can be exported, by exporting it with random weights.

    Parameters
    ----------
    settings : mapping
        sections `audio`, `features`, `model` and `train` of the parameters

    Raises
    ------
    ValueError
        if a feature or the model cannot be exported, with the reason
    """
    settings = described(settings)
    name, rate = settings["model"]["name"], settings["audio"]["sample_rate"]
    if not is_network(settings["model"]):
        raise ValueError(
            f"model {name}: cannot be exported: it is not a network, want another model, {_HINT}"
        )
    noise = np.random.default_rng(0).normal(0, 3000, 3 * rate).astype(np.int16)
    features, inputs = {}, {}
    for key, feature in settings["features"].items():
        features[key] = bind(feature, "acoustics")
        inputs[key] = _dimensions(key, features[key], samples=rate // 4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = bind(settings["model"]["network"], "networks")(inputs, 3)
    input_layer(network)
    recogniser = Recogniser(
        network.eval(),
        features=features,
        labels=["a", "b", "c"],
        sample_rate=rate,
        level=settings["audio"]["level"],
        level_db=settings["audio"]["level_db"],
        window=window_frames(settings["train"]),
    ).eval()
    try:
        session = open_session(to_onnx(recogniser, metadata={}))
    except ValueError as error:
        raise ValueError(f"model {name}: {error}; want another model, {_HINT}") from error
    shapes = ((1, 0.3), (3, 1.6))
    _check(
        f"model {name}: exported with random weights, a probability",
        parity.against_torch(session, recogniser, speech=noise, shapes=shapes),
        parity.TORCH_BOUND,
    )


def _dimensions(name: str, feature: Any, *, samples: int) -> int:
    """Return the dimensions of a feature, or raise a ValueError if it cannot be exported."""
    needs = getattr(import_module(feature.func.__module__), "NEEDS", None)
    try:
        if needs is not None:
            raise ValueError(f"it needs {needs}, which cannot be part of a graph")
        waveform = torch.zeros(1, samples)
        dimensions = feature(waveform).shape[-2]  # builds constants, which a trace would include
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that tracing may freeze; measured later
            torch.jit.trace(lambda waveform: feature(waveform), waveform, check_trace=False)
        return dimensions
    except ValueError as error:
        raise ValueError(
            f"features.{name}: cannot be exported: {error}; want other features, {_HINT}"
        ) from error


def export(
    *,
    folder: Path,
    checkpoints: Path,
    seed: int,
    clips: pd.DataFrame,
    predictions: pd.DataFrame,
    split: pd.DataFrame,
    audio: NDArray[np.int16],
    metadata: Mapping[str, Any],
) -> Exported:
    """Export the network trained on every fold, and check what the files compute.

    Parameters
    ----------
    folder : Path
        that will hold the files; its disk must have room for them
    checkpoints : Path
        folder of <job>.pt
    seed : int
        of the network
    clips, predictions, split : DataFrame
        the clip table; data/predictions.csv; the split table
    audio : int16 [samples]
        the audio store
    metadata : mapping
        facts for the files: model, corpora and their licences, protocol and figures; labels, sample
        rate and settings of audio are added

    Raises
    ------
    FileNotFoundError
        if a checkpoint is missing
    ValueError
        if the network cannot be exported, if a graph differs by more than a bound, or if the disk
        has no room
    """
    checkpoint = checkpoints / f"{Job(ALL, seed).name}.pt"
    recogniser, conditioning = load_recogniser(checkpoint)
    # Its weights twice, in full and in a quarter of the size, and the matrices of its features.
    need = int(2.5 * checkpoint.stat().st_size)
    check_disk(f"{folder}: the model in two precisions", need=need, folder=folder)
    outside = _outside(conditioning)
    facts = {
        "labels": recogniser.labels,
        "sample_rate": recogniser.sample_rate,
        "audio": conditioning,
        "outside_the_graph": outside,
        **metadata,
    }
    if origins := _origins(recogniser):
        facts["pretrained"] = origins
    known = {"speaker_statistics": recogniser.head.statistics.as_json()} if recogniser.head else {}
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in (facts | known).items()}
    full = to_onnx(recogniser, metadata=texts)
    files = {FULL: full, INT8: with_int8_weights(full)}
    sizes = {name: len(content) for name, content in files.items()}
    difference = parity.against_torch(open_session(full), recogniser, speech=audio)
    _check(f"{FULL}: a probability", difference, parity.TORCH_BOUND)
    report: dict[str, Any] = {
        "exported": True,
        "bytes": sizes,
        "metadata": facts,
        "from_torch": {
            "largest_difference": _rounded(difference),
            "bound": parity.TORCH_BOUND,
            "batches_and_seconds": [list(shape) for shape in parity.SHAPES],
        },
        "held_out": _compare_held_out(
            parity.held_out_clips(predictions, clips, seed=seed),
            clips.merge(split, on="clip"),
            checkpoints=checkpoints,
            labels=recogniser.labels,
            audio=audio,
        ),
    }
    files["README.md"] = model_card(facts | known, report["held_out"]).encode()
    named = ", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in sizes.items())
    log.info("export: %s; not in the graph: %s", named, ", ".join(outside))
    return Exported(files, report)


def _origins(recogniser: Recogniser) -> list[str]:
    """List whose pre-trained weights the graph includes, as their modules say in ORIGIN."""
    features: Iterable[Any] = recogniser.features.values()  # partial functions, of settings
    modules = [type(recogniser.network).__module__, *(f.func.__module__ for f in features)]
    found = (getattr(import_module(name), "ORIGIN", None) for name in modules)
    return list(dict.fromkeys(origin for origin in found if origin))


def _outside(audio: Mapping[str, Any]) -> list[str]:
    """List the steps before training that the graph does not include."""
    steps = [f"mixing to mono, resampling to {audio['sample_rate']} Hz"]
    if audio["denoise"] is not None:
        steps.append(f"denoising (audio.denoise={audio['denoise']:g})")
    if audio["trim_db"] is not None:
        steps.append(f"trimming both ends (audio.trim_db={audio['trim_db']:g})")
    return steps


def _compare_held_out(
    clips: pd.DataFrame,
    table: pd.DataFrame,
    *,
    checkpoints: Path,
    labels: Sequence[str],
    audio: NDArray[np.int16],
) -> dict[str, Any]:
    """Export the network of a fold as well, and compare both precisions on its held-out clips.

    The clip table with its split, `table`, has the enrolment of calibrated speakers.
    """
    fold, seed = clips["fold"].iloc[0], clips["seed"].iloc[0]
    recogniser, _ = load_recogniser(checkpoints / f"{Job(str(fold), seed).name}.pt")
    full = to_onnx(recogniser, metadata={})
    sessions = [open_session(full), open_session(with_int8_weights(full))]
    speakers: list[dict[str, NDArray[np.float32]]] = [{}] * len(clips)
    if recogniser.head:
        part = table[str(fold)]
        enrolment = table[part == ("enrolment" if "enrolment" in set(part) else "test")]
        speakers = parity.known_speakers(
            sessions[0],
            clips,
            enrolment=enrolment,
            statistics=recogniser.head.statistics,
            audio=audio,
        )
    found = parity.answers(sessions, clips, audio=audio, speakers=speakers)
    exact, coarse = np.stack(list(found), axis=1)
    cached = clips[[f"p_{label}" for label in labels]].to_numpy()
    whole = clips["whole"].to_numpy()
    # None if all clips are segments, because the graph cannot know the gain of their files.
    difference = float(np.abs(exact - cached)[whole].max()) if whole.any() else None
    if difference is not None:
        _check(f"{FULL}: a probability, from caches,", difference, parity.CACHED_BOUND)
    truth = clips["label"].map(list(labels).index).to_numpy(dtype=np.int64)
    ua, ua_int8 = (parity.ua_of_probabilities(truth, answers) for answers in (exact, coarse))
    lost = int((exact.argmax(1) == truth).sum() - (coarse.argmax(1) == truth).sum())
    if lost > 1:  # in a small fold, one clip of a rare class changes UA by more than a point
        _check(f"{INT8}: the UA of {len(clips)} held-out clips", ua - ua_int8, parity.UA_BOUND)
    return {
        "fold": str(fold),
        "clips": len(clips),
        "from_caches": {
            "clips": int(whole.sum()),
            "largest_difference": difference and _rounded(difference),
            "bound": parity.CACHED_BOUND,
        },
        "int8": {
            "ua": round(ua, 6),
            "ua_int8": round(ua_int8, 6),
            "bound": parity.UA_BOUND,
            "other_answers": int((exact.argmax(1) != coarse.argmax(1)).sum()),
            "largest_difference": _rounded(float(np.abs(exact - coarse).max())),
        },
    }


def _check(quantity: str, difference: float, bound: float) -> None:
    if not difference <= bound:  # also if it is NaN
        raise ValueError(
            f"{quantity} differs by {difference:.3g}, want at most {bound:g}; {_HINT[3:]}"
        )


def _rounded(value: float) -> float:
    """Round to two digits, because the others differ between machines."""
    return float(f"{value:.1e}")
