"""One clip of each label: its waveform, its features and the network's attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib import rc_context
from numpy.typing import NDArray

from stages.acoustics import Description
from stages.audio.frames import first_frames
from stages.learning.layers import AttentiveStatistics
from stages.reporting.drawing import encode
from stages.reporting.excerpts import (
    LONGEST_S,
    SPREAD,
    Excerpt,
    compact_png,
    describe_feature,
    draw_excerpts,
    read_excerpt,
)
from stages.reporting.fold_networks import FoldNetworks, record_calls
from stages.reporting.predictions import Predictions
from stages.reporting.run import Run
from stages.reporting.section import Section


def section(run: Run) -> Section:
    """Choose, read and draw a held-out clip of each label that has one."""
    chosen = choose(run.predictions, clips=run.clips)
    sample_rate, hop_length = (run.settings["audio"][key] for key in ("sample_rate", "hop_length"))
    excerpts = {
        row.label: read_excerpt(
            row, store=run.store, caches=run.caches, sample_rate=sample_rate, hop_length=hop_length
        )
        for row in chosen.itertuples()
    }
    described = {
        name: describe_feature(name, run.settings["features"][name], dimensions=cache.shape[1])
        for name, cache in run.caches.items()
    }
    networks = FoldNetworks(run.checkpoints, run.predictions, run.caches)
    weights = attention(chosen, networks=networks)
    if weights:
        described["attention"] = Description("× the mean", "", np.zeros(1))
        for excerpt, weight in zip(excerpts.values(), weights, strict=True):
            shown = len(next(iter(excerpt.features.values())))
            excerpt.features["attention"] = weight[:shown, None]
    return Section(
        pictures=encode_examples(
            excerpts,
            names=dict(zip(chosen["label"], chosen["clip"], strict=True)),
            described=described,
            sample_rate=sample_rate,
            hop_length=hop_length,
            notes=run.notes,
        ),
        words={
            "examples": chosen.assign(duration_s=chosen["samples"] / sample_rate).to_dict(
                "records"
            ),
            "attention": bool(weights),
            "longest_s": LONGEST_S,
            "spread": SPREAD,
        },
    )


def choose(predictions: Predictions, *, clips: pd.DataFrame) -> pd.DataFrame:
    """Choose a held-out clip of each label, of one voice and one text as far as possible.

    The speaker with the most labels is chosen, of the speaker's sentences the one with the most
    labels, and of its takes the one with the most labels; the first in the table among equals. A
    missing label is taken from the same speaker's other takes, then other sentences, then from
    another speaker, the same sentence and take first. No variant is chosen: where variants are
    tested, so are the recordings themselves.

    Parameters
    ----------
    predictions : Predictions
    clips : DataFrame
        the clip table

    Returns
    -------
    DataFrame
        one row for each label that has a held-out clip, in the order of labels: the columns of the
        clip table; first (row in the caches); fold; label; answer (label of the largest
        probability, mean over seeds), probability (of the answer), own_probability (of the label)
    """
    shares = predictions.probabilities.mean(axis=1)  # [clips, classes]
    held_out = predictions.clips[["clip", "label", "fold"]].assign(
        answer=np.array(predictions.labels)[shares.argmax(axis=1)],
        probability=shares.max(axis=1),
        own_probability=shares[np.arange(len(shares)), predictions.truth],
    )
    held_out = held_out.drop_duplicates("clip")  # the first of several folds
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


@torch.inference_mode()
def attention(clips: pd.DataFrame, *, networks: FoldNetworks) -> list[NDArray[np.float32]]:
    """Compute the weight that pooling gives to each frame of some clips, each in its test fold.

    Parameters
    ----------
    clips : DataFrame
        fold, and first and frames: a clip's rows in the caches
    networks : FoldNetworks

    Returns
    -------
    list of float32 [frames]
        in the order of `clips`; 1 is the mean over the clip. Where a network shortens time, all
        frames of a step have its weight. Empty if the model is no network, or has no such layer
    """
    found = {}
    for fold, rows in clips.groupby("fold", sort=False):
        network = networks.load(str(fold))
        layers = [] if network is None else list(network.modules())
        layers = [layer for layer in layers if isinstance(layer, AttentiveStatistics)]
        if network is None or not layers:
            return []
        data = networks.data(rows)
        for position, row in enumerate(rows.index):
            one, frames = np.array([position]), data.frames[[position]]
            batch = data.cut(one, offset=np.zeros_like(one), frames=frames)
            with record_calls(layers) as calls:
                network(batch.features, batch.lengths)
            layer, arguments = calls[-1]  # the last of several is nearest to the answer
            assert isinstance(layer, AttentiveStatistics)
            weights = layer.weights(*arguments)[0].numpy()
            step = -(-int(frames[0]) // len(weights))
            found[row] = np.repeat(weights * len(weights), step)[: frames[0]]
    return [found[row] for row in clips.index]


def encode_examples(
    excerpts: Mapping[str, Excerpt],
    *,
    names: Mapping[str, str],
    described: Mapping[str, Description],
    sample_rate: int,
    hop_length: int,
    notes: Sequence[str],
) -> dict[str, bytes]:
    """Draw each label's clip: PNG and SVG by file name.

    Parameters
    ----------
    excerpts, names : by label
        the clip and its name
    described, sample_rate, hop_length
        see `draw_excerpts`
    notes : list of str
        lines below each title
    """
    files = {}
    # Panels in fixed places need no layout engine, which would draw everything twice.
    with rc_context({"figure.constrained_layout.use": False}):
        for label, figure in draw_excerpts(
            excerpts,
            titles={label: [f"{label}: {name}", *notes] for label, name in names.items()},
            described=described,
            sample_rate=sample_rate,
            hop_length=hop_length,
        ):
            files[f"example_{label}.png"] = compact_png(figure)
            files[f"example_{label}.svg"] = encode(figure, "svg")
    return files
