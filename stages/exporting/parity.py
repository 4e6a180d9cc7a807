"""Agreement of a graph with the recogniser and with the predictions of the pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import torch
from numpy.typing import NDArray

from stages.audio.store import FULL_SCALE
from stages.learning.recogniser import Recogniser
from stages.learning.speaker_statistics import SpeakerStatistics
from stages.metrics import counts as metrics

#: Largest difference of a probability from torch, and from a prediction with cached features, which
#: are float16; largest loss of unweighted accuracy with weights in 8 bits.
TORCH_BOUND, CACHED_BOUND, UA_BOUND = 1e-4, 1e-2, 1e-2
#: Number of waveforms and their duration in seconds.
SHAPES = (
    *((1, 0.3), (2, 15.0), (3, 1.1), (4, 2.7), (5, 0.5)),
    *((6, 4.0), (7, 0.9), (8, 3.0), (1, 15.0), (8, 0.3)),
)


def probabilities(
    session: onnxruntime.InferenceSession,
    waveform: NDArray[np.float32],
    speaker: Mapping[str, NDArray[np.float32]] | None = None,
) -> NDArray[np.float32]:
    """Compute the probabilities [batch, labels] of waveforms [batch, samples] of one speaker."""
    return session.run(["probabilities"], {"waveform": waveform, **(speaker or {})})[0]


@torch.inference_mode()
def against_torch(
    session: onnxruntime.InferenceSession,
    recogniser: Recogniser,
    *,
    speech: NDArray[np.int16],
    shapes: Iterable[tuple[int, float]] = SHAPES,
) -> float:
    """Measure the largest difference of a probability from torch, for several batch shapes.

    Parameters
    ----------
    session : InferenceSession
    recogniser : Recogniser
        from which the graph was made
    speech : int16 [samples]
        source of the waveforms, which start at equal distances and repeat it beyond its end
    shapes : iterable of (int, float)
        number of waveforms and their duration in seconds

    Returns
    -------
    float
        infinite if the graph returns another shape or values that are not finite
    """
    worst = 0.0
    for batch, seconds in shapes:
        samples = round(seconds * recogniser.sample_rate)
        starts = np.linspace(0, len(speech), batch, endpoint=False).astype(int)
        rows = [np.resize(speech[start : start + samples], samples) for start in starts]
        waveform = np.stack(rows).astype(np.float32) / np.float32(FULL_SCALE)
        want = recogniser(torch.from_numpy(waveform)).softmax(dim=1).numpy()
        got = probabilities(session, waveform)
        if got.shape != want.shape or not np.isfinite(got).all():
            return float("inf")
        worst = max(worst, float(np.abs(got - want).max()))
    return worst


def held_out_clips(predictions: pd.DataFrame, clips: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Select the recordings that the first fold holds out, with their predictions.

    Parameters
    ----------
    predictions, clips : DataFrame
        data/predictions.csv; the clip table
    seed : int

    Returns
    -------
    DataFrame
        the columns of the predictions, with start, samples, and whole: whether a clip is its whole
        file. Segments have the gain of their file, but the graph gives each its own.
    """
    chosen = predictions[predictions["seed"] == seed]
    chosen = chosen[chosen["fold"] == chosen["fold"].min()]
    clean = clips[clips["variant"] == "clean"]
    whole = clean.groupby(["corpus", "file"])["clip"].transform("size") == 1
    places = clean[["clip", "start", "samples"]].assign(whole=whole)
    return chosen.merge(places, on="clip").sort_values("clip", ignore_index=True)


def known_speakers(
    session: onnxruntime.InferenceSession,
    clips: pd.DataFrame,
    *,
    enrolment: pd.DataFrame,
    statistics: SpeakerStatistics,
    audio: NDArray[np.int16],
) -> list[dict[str, NDArray[np.float32]]]:
    """Estimate the inputs `speaker_mean` and `speaker_std` of each clip by the graph itself.

    Parameters
    ----------
    session : InferenceSession
        of a graph that is calibrated to speakers
    clips, enrolment : DataFrame
        clip, speaker, start and samples; a clip does not serve for itself
    statistics : SpeakerStatistics
        what the training speakers tell
    audio : int16 [samples]
    """
    vectors = np.zeros((len(enrolment), len(statistics.mean)))
    for row, clip in enumerate(enrolment.itertuples()):
        (vector,) = session.run(["representation"], {"waveform": _waveform(clip, audio)})
        vectors[row] = vector[0]
    names, speakers = enrolment["clip"].to_numpy(), enrolment["speaker"].to_numpy()
    found = []
    for clip in clips.itertuples():
        own = (speakers == clip.speaker) & (names != clip.clip)
        mean, std = statistics.of_speaker(vectors[own])
        found.append({"speaker_mean": mean, "speaker_std": std})
    return [{key: v.astype(np.float32) for key, v in known.items()} for known in found]


def answers(
    sessions: Iterable[onnxruntime.InferenceSession],
    clips: pd.DataFrame,
    *,
    audio: NDArray[np.int16],
    speakers: Iterable[Mapping[str, NDArray[np.float32]]],
) -> Iterator[list[NDArray[np.float32]]]:
    """Yield the probabilities [labels] of each graph for each clip of the audio store.

    For `speakers` see `known_speakers`; one empty mapping per clip if no speaker is known.
    """
    sessions = list(sessions)
    for clip, speaker in zip(clips.itertuples(), speakers, strict=True):
        waveform = _waveform(clip, audio)
        yield [probabilities(session, waveform, speaker)[0] for session in sessions]


def _waveform(clip: Any, audio: NDArray[np.int16]) -> NDArray[np.float32]:
    """Return the samples of a clip, [1, samples], in [-1, 1]."""
    samples = audio[clip.start : clip.start + clip.samples]
    return samples.astype(np.float32)[None] / np.float32(FULL_SCALE)


def ua_of_probabilities(truth: NDArray[np.int64], probabilities: NDArray) -> float:
    """Compute the unweighted accuracy of probabilities [clips, labels], given the true labels."""
    predicted, n_classes = probabilities.argmax(1), probabilities.shape[1]
    counts = metrics.confusion_matrix(truth, predicted, n_classes=n_classes)
    return float(metrics.unweighted_accuracy(counts))
