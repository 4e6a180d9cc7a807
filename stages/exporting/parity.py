"""Does a graph compute what the recogniser computes, and what the pipeline computed?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnxruntime
import pandas as pd
import torch
from numpy.typing import NDArray

from stages.audio.store import FULL_SCALE
from stages.learning.recogniser import Recogniser
from stages.metrics import counts as metrics

#: Largest differences of a probability: from torch, and from what was computed from caches, which
#: are of float16; and how much of the unweighted accuracy weights of 8 bits may take.
TORCH_BOUND, CACHED_BOUND, UA_BOUND = 1e-4, 1e-2, 1e-2
#: Numbers of waveforms, and how long they are in seconds.
SHAPES = (
    *((1, 0.3), (2, 15.0), (3, 1.1), (4, 2.7), (5, 0.5)),
    *((6, 4.0), (7, 0.9), (8, 3.0), (1, 15.0), (8, 0.3)),
)


def probabilities(
    session: onnxruntime.InferenceSession, waveform: NDArray[np.float32]
) -> NDArray[np.float32]:
    """What a graph answers for waveforms [batch, samples]: [batch, labels]."""
    return session.run(["probabilities"], {"waveform": waveform})[0]


@torch.inference_mode()
def against_torch(
    session: onnxruntime.InferenceSession,
    recogniser: Recogniser,
    *,
    speech: NDArray[np.int16],
    shapes: Iterable[tuple[int, float]] = SHAPES,
) -> float:
    """Largest difference of a probability from torch, at several batch sizes and lengths.

    Parameters
    ----------
    session : InferenceSession
    recogniser : Recogniser
        that the graph was made from
    speech : int16 [samples]
        where waveforms are taken from, at equal distances; from its start again after its end
    shapes : (batch, seconds), several

    Returns
    -------
    float
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
    """The recordings that the first fold holds out, with what was predicted for them.

    Parameters
    ----------
    predictions, clips : DataFrame
        data/predictions.csv; the clip table
    seed : int

    Returns
    -------
    DataFrame
        the columns of the predictions with start, samples, and whole: whether a clip is all of
        its file, as parts have the gain of their file and the graph gives each its own
    """
    some = predictions[predictions["seed"] == seed]
    some = some[some["fold"] == some["fold"].min()]
    clean = clips[clips["variant"] == "clean"]
    whole = clean.groupby(["corpus", "file"])["clip"].transform("size") == 1
    places = clean[["clip", "start", "samples"]].assign(whole=whole)
    return some.merge(places, on="clip").sort_values("clip", ignore_index=True)


def answers(
    sessions: Iterable[onnxruntime.InferenceSession],
    clips: pd.DataFrame,
    *,
    audio: NDArray[np.int16],
) -> Iterator[list[NDArray[np.float32]]]:
    """What each graph answers for each clip, as it lies in the audio store: [labels] each."""
    sessions = list(sessions)
    for clip in clips.itertuples():
        samples = audio[clip.start : clip.start + clip.samples]
        waveform = samples.astype(np.float32)[None] / np.float32(FULL_SCALE)
        yield [probabilities(session, waveform)[0] for session in sessions]


def unweighted_accuracy(truth: NDArray[np.int64], answered: NDArray) -> float:
    """Of probabilities [clips, labels] for the labels of such numbers."""
    counts = metrics.confusion_matrix(truth, answered.argmax(1), n_classes=answered.shape[1])
    return float(metrics.unweighted_accuracy(counts))
