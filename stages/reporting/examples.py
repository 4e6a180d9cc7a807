"""One clip of each label: which one, what is cached of it and what was answered for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from numpy.typing import NDArray

from stages.acoustics import Description
from stages.audio.frames import first_frames, frame_count
from stages.audio.store import FULL_SCALE
from stages.reporting.drawing import encode
from stages.reporting.fold_networks import FoldNetworks, attention
from stages.reporting.panels import Excerpt, compact_png, draw
from stages.reporting.predictions import Predictions

#: Of a longer clip, no more than its beginning is drawn.
LONGEST_S = 5.0


@dataclass(frozen=True)
class Example:
    """A clip that stands for its label, with what was answered when it was held out.

    Attributes
    ----------
    label, clip, speaker, sex, sentence, take, emotion : str
        of the clip table; "" where unknown
    answer : str
        the label of the largest probability, mean over seeds
    probability, own_probability : float
        of the answer, and of the clip's own label
    duration_s : float
        of the clip, of which at most LONGEST_S is drawn
    attention : bool
        whether the network's attention is the last panel
    """

    label: str
    clip: str
    speaker: str
    sex: str
    sentence: str
    take: str
    emotion: str
    answer: str
    probability: float
    own_probability: float
    duration_s: float
    attention: bool


def examples(
    predictions: Predictions,
    *,
    clips: pd.DataFrame,
    store: NDArray[np.int16],
    caches: Mapping[str, NDArray],
    networks: FoldNetworks,
    settings: Mapping[str, Any],
    notes: Sequence[str],
) -> tuple[list[Example], dict[str, bytes]]:
    """Choose, read and draw one held-out clip of each label that has one.

    Parameters
    ----------
    predictions : Predictions
        of the held-out clips
    clips : DataFrame
        the clip table
    store : int16 [samples]
        the audio store
    caches : by feature, float [frames of all clips, dimensions]
    networks : FoldNetworks
        if they have attention, it is the last panel
    settings : mapping
        audio and features of params.yaml
    notes : what every title must add

    Returns
    -------
    list of Example, and their figures: file name -> PNG or SVG

    Raises
    ------
    ValueError
        naming the clip or the feature whose cached values are not what the table or the feature's
        settings say
    """
    chosen = choose(predictions, clips=clips)
    sample_rate, hop_length = (settings["audio"][key] for key in ("sample_rate", "hop_length"))
    excerpts = {
        row.label: read(
            row, store=store, caches=caches, sample_rate=sample_rate, hop_length=hop_length
        )
        for row in chosen.itertuples()
    }
    described = {
        name: describe(name, settings["features"][name], dimensions=cache.shape[1])
        for name, cache in caches.items()
    }
    weights = attention(chosen, networks=networks)
    if weights:
        described["attention"] = Description("× the mean", "", np.zeros(1))
        for excerpt, of_clip in zip(excerpts.values(), weights, strict=True):
            shown = len(next(iter(excerpt.features.values())))
            excerpt.features["attention"] = of_clip[:shown, None]
    files = {}
    # Panels in fixed places need no layout engine, which would draw everything twice.
    with rc_context({"figure.constrained_layout.use": False}):
        for label, figure in draw(
            excerpts,
            titles={row.label: [f"{row.label}: {row.clip}", *notes] for row in chosen.itertuples()},
            described=described,
            sample_rate=sample_rate,
            hop_length=hop_length,
        ):
            files[f"example_{label}.png"] = compact_png(figure)
            files[f"example_{label}.svg"] = encode(figure, "svg")
    facts = chosen.assign(duration_s=chosen["samples"] / sample_rate, attention=bool(weights))
    rows = facts[[field.name for field in fields(Example)]].to_dict("records")
    return [Example(**row) for row in rows], files


def choose(predictions: Predictions, *, clips: pd.DataFrame) -> pd.DataFrame:
    """One held-out clip of each label, of one voice and one text as far as there are such.

    No variant is chosen: where variants are tested as well, so are the recordings themselves.
    The speaker with the most labels, of the speaker's sentences the one with the most labels, of
    its takes the one with the most labels; the first in the table's order among equals. A label
    that lacks there is taken from the same speaker's other takes, then other sentences, then from
    another speaker, the same sentence and take first.

    Parameters
    ----------
    predictions : Predictions
    clips : DataFrame
        the clip table

    Returns
    -------
    DataFrame
        the columns of the clip table; first (row in the caches); fold; label, answer, probability
        and own_probability, as of `Example`. One row for each label that has a held-out clip, in
        the order of labels
    """
    shares = predictions.probabilities.mean(axis=1)  # [clips, classes]
    held_out = predictions.clips[["clip", "label", "fold"]].assign(
        answer=np.array(predictions.labels)[shares.argmax(axis=1)],
        probability=shares.max(axis=1),
        own_probability=shares[np.arange(len(shares)), predictions.truth],
    )
    held_out = held_out.drop_duplicates("clip")  # of several folds the first
    clips = clips.assign(first=first_frames(clips["frames"].to_numpy()))
    clips = clips[clips["variant"] == "clean"]
    found = clips.merge(held_out, on="clip", validate="one_to_one")
    same = pd.Series(True, index=found.index)
    for column in ("speaker", "sentence", "take"):
        labels = found[same].groupby(column, sort=False)["label"].nunique()
        own = found[column] == labels.idxmax()  # the first of equals
        same &= own
        found[f"other_{column}"] = ~own
    order = ["other_speaker", "other_sentence", "other_take"]
    best = found.sort_values(order, kind="stable").drop_duplicates("label").set_index("label")
    return best.loc[[label for label in predictions.labels if label in best.index]].reset_index()


def read(
    clip: Any,
    *,
    store: NDArray[np.int16],
    caches: Mapping[str, NDArray],
    sample_rate: int,
    hop_length: int,
) -> Excerpt:
    """Take the beginning of one clip, LONGEST_S at most, out of the store and the caches.

    `clip` has clip, start, samples, first and frames; for the rest and what is raised see
    `examples`. Nothing else is read where store and caches are memory-mapped.
    """
    samples = min(clip.samples, int(LONGEST_S * sample_rate))
    waveform = store[clip.start : clip.start + samples]
    if len(waveform) < samples:
        got = f"got {len(waveform)} samples in the audio store"
        raise ValueError(f"{clip.clip}: {got}, want {samples} from {clip.start}")
    frames = min(clip.frames, frame_count(samples, hop_length=hop_length))
    rows = slice(clip.first, clip.first + frames)
    return Excerpt(
        waveform.astype(np.float32) / FULL_SCALE,
        {name: cache[rows].astype(np.float32) for name, cache in caches.items()},
    )


def describe(name: str, settings: Mapping[str, Any], *, dimensions: int) -> Description:
    """What a feature's numbers are, as its module says; if it says nothing, they are numbered.

    Parameters
    ----------
    name : str
        of the feature, for errors
    settings : mapping
        its `_target_` and what that was called with
    dimensions : int
        of its cache

    Raises
    ------
    ValueError
        if the module describes another number of dimensions
    """
    bound = {key: value for key, value in settings.items() if key != "_target_"}
    module = import_module(settings["_target_"].rpartition(".")[0])
    if not hasattr(module, "describe"):
        return Description("value", "dimension", np.arange(dimensions))
    found = module.describe(**bound)
    if len(found.centres) != dimensions:
        got = f"got {dimensions} dimensions in its cache"
        raise ValueError(f"{name}: {got}, want {len(found.centres)} as its settings say")
    return found
