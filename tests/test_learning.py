"""Networks and jobs: padding changes nothing, nothing is learned from test clips, runs repeat."""

import dataclasses
import json
import os
import warnings
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torchaudio.functional import mask_along_axis_iid

from stages.learning.augment import _masks, add_noise, mixup, spec_augment
from stages.learning.batches import ClipData, TrainingBatches, WholeBatches, balanced_probability
from stages.learning.checkpoints import Job, check_start
from stages.learning.jobs import all_jobs, run_jobs
from stages.learning.layers import (
    AttentiveStatistics,
    InputLayer,
    TimePooling,
    input_layer,
    window_frames,
    windowed,
)
from stages.learning.learner import Learner, build_learner
from stages.learning.progress import tick
from stages.learning.results import gather, gather_validation
from stages.learning.training import NetworkLearner, _class_weight
from stages.learning.training_plan import make_plan
from stages.settings.loading import bind
from stages.splits.split_table import ALL
from tests.support import ROOT, as_plugin, composed, networks

MODELS = sorted(path.stem for path in (ROOT / "conf" / "model").glob("*.yaml"))
INPUTS = {"logmel": 12, "rms": 1}
#: Dimensions of what pre-trained networks ask for.
PRETRAINED = {"ge2e": 256, "melpower": 40}
#: What is too large to be trained in a test is made smaller, by overrides.
MEMBERS = (
    "model/members=[svm,frozen_ge2e,ge2e]",
    "model.members.svm.features=[logmel,rms]",
    "model.members.svm.model.network.functionals=[mean,deviation,slope,percentiles,change]",
    "model.members.ge2e.train.epochs=2",
    "model.members.ge2e.train.batch_size=8",
)
SMALL = {
    "conv2d": ("model.network.channels=[16,32,32,64]", "model.network.dense=[64,32]"),
    "ensemble": MEMBERS,
    "distil": (
        *MEMBERS,
        "model.network.crossfit=1",  # as a fold may have one training speaker
        "model.student.bigru.features=[logmel,rms]",
        "model.student.bigru.train.epochs=9",
        "model.student.bigru.train.batch_size=8",
    ),
}
#: Networks that learn the toy clips in more epochs than the others.
SLOW = ("cnn_gru", "conv2d", "lstm_gru")


def small(name):
    return composed(f"model={name}", *SMALL.get(name, ()))


def inputs_of(name):
    """Dimensions of the toy features, and of those that pre-trained networks ask for."""
    asked = small(name)["features"]
    return INPUTS | {key: size for key, size in PRETRAINED.items() if key in asked}


def network_of(name):
    return bind(small(name)["model"]["network"], "networks")


NETWORKS = networks()


def learner_of(*overrides, **settings):
    """The learner of a small `gru`, with other settings of `train`."""
    params = composed("model=gru", *overrides)
    return build_learner(params | {"train": params["train"] | settings})


def fitted(learner, data, folder, *, train, validation, seed=0):
    """The history of a fit, as a table."""
    history = learner.fit(
        data,
        train=np.asarray(train),
        validation=np.asarray(validation, dtype=np.int64),
        seed=seed,
        logs=folder / "logs",
        on_epoch=lambda: None,
    )
    return pd.DataFrame(history)


def toy_data(clips=60, classes=3, seed=0, shift=3.0, inputs=INPUTS):
    """Clips whose second half tells the class."""
    random = np.random.default_rng(seed)
    frames = random.integers(5, 40, clips)
    first = np.cumsum(frames) - frames
    labels = np.arange(clips) % classes
    late = np.concatenate([np.arange(n) >= n // 2 for n in frames])[:, None]
    caches = {}
    for name, size in inputs.items():
        middle = random.normal(0, shift, (classes, size))
        rows = random.normal(0, 1, (frames.sum(), size))
        rows += late * np.repeat(middle[labels], frames, 0)
        caches[name] = rows.astype(np.float16)
    return ClipData(caches=caches, first=first, frames=frames, labels=labels, n_classes=classes)


def whole(data, clips=None, *, size=60, most_frames=10_000):
    clips = np.arange(len(data.labels)) if clips is None else clips
    return WholeBatches(data, clips, size=size, most_frames=most_frames)


def built(name, n_classes=4):
    torch.manual_seed(0)
    inputs = inputs_of(name)
    network = network_of(name)(inputs, n_classes).eval()
    network.input.fit({k: (torch.randn(n), torch.rand(n) + 0.5) for k, n in inputs.items()})
    return network


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("frames", [1, 2, 7, 50])
def test_padding_never_changes_logits(name, frames):
    network = built(name)
    clip = {k: torch.randn(1, frames, n) for k, n in inputs_of(name).items()}
    alone = network(clip, torch.tensor([frames]))
    longer = {k: torch.randn(1, 64, n) for k, n in inputs_of(name).items()}
    for padding in (0.0, 7.0):
        batch = {
            k: torch.cat([nn.functional.pad(v, (0, 0, 0, 64 - frames), value=padding), longer[k]])
            for k, v in clip.items()
        }
        together = network(batch, torch.tensor([frames, 64]))
        torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_follow_the_clip_and_reach_every_weight(name):
    network = built(name).train()
    features = {k: torch.randn(6, 30, n) for k, n in inputs_of(name).items()}
    logits = network(features, torch.full((6,), 30))
    assert logits.shape == (6, 4)
    logits.square().sum().backward()
    for name_of_weight, weight in network.named_parameters():
        assert weight.grad is not None
        # The attention's softmax heeds no constant: the gradient of its bias is rounding alone.
        assert weight.grad.abs().sum() > 0 or name_of_weight.endswith("score.2.bias")


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_a_traced_network_keeps_no_size_of_its_example(name):
    """As the export to ONNX traces it: a size that Python code has seen would be frozen."""
    network = built(name)

    def clips(number, frames):  # of one length, as a recogniser gives them
        features = {k: torch.randn(number, frames, n) for k, n in inputs_of(name).items()}
        return features, torch.full((number,), frames)

    with warnings.catch_warnings():  # sizes are compared, to check them
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        traced = torch.jit.trace(network, clips(2, 33), strict=False, check_trace=False)
    for number, frames in ((1, 1), (3, 7), (5, 90)):
        features, lengths = clips(number, frames)
        torch.testing.assert_close(
            traced(features, lengths), network(features, lengths), atol=1e-5, rtol=1e-5
        )


def test_limited_normalisation_keeps_what_lies_within_and_cuts_the_rest():
    frames = torch.randn(1, 200, 1)
    frames[0, 7] = 1000.0
    features, lengths = {"rms": frames}, torch.tensor([200])
    whole = InputLayer({"rms": 1}, normalisation="clip")(features, lengths)["rms"]
    limited = InputLayer({"rms": 1}, normalisation="clip_limited")(features, lengths)["rms"]
    assert whole[0, 7] > 10 and limited[0, 7] == 5
    torch.testing.assert_close(limited[:, :7], whole[:, :7])


@pytest.mark.parametrize("normalisation", ["fold", "clip", "fold_clip_mean"])
def test_normalisation(normalisation):
    layer = InputLayer(INPUTS, normalisation=normalisation)
    data = toy_data()
    layer.fit(data.statistics(np.arange(60)))
    batch = next(iter(whole(data)))
    values = layer(batch.features, batch.lengths)["logmel"]
    valid = torch.arange(values.shape[1]) < batch.lengths[:, None]
    assert (values[~valid] == 0).all()
    if normalisation == "fold":
        torch.testing.assert_close(values[valid].mean(0), torch.zeros(12), atol=1e-3, rtol=0)
        torch.testing.assert_close(values[valid].std(0), torch.ones(12), atol=1e-2, rtol=0)
    else:
        mean = values.sum(1) / batch.lengths[:, None]
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="normalisation: got 'none', want one of fold, clip"):
        InputLayer(INPUTS, normalisation="none")


def test_half_of_a_clip_s_mean_is_taken_off_and_in_training_any_share():
    layer = InputLayer({"rms": 1, "zcr": 1}, normalisation="fold_half_clip_mean")
    features = {name: 4 + torch.randn(50, 9, 1) for name in ("rms", "zcr")}
    lengths = torch.full((50,), 9)
    for name, got in layer.eval()(features, lengths).items():
        frames = features[name]
        torch.testing.assert_close(got, frames - frames.mean(1, keepdim=True) / 2)
    off = {}
    for name, got in layer.train()(features, lengths).items():
        differences = features[name] - got
        torch.testing.assert_close(differences, differences[:, :1].expand(-1, 9, -1))
        off[name] = (differences[:, 0] / features[name].mean(1)).squeeze()
    torch.testing.assert_close(off["rms"], off["zcr"])
    assert 0 <= off["rms"].min() < 0.2 and 0.8 < off["rms"].max() <= 1


@settings(max_examples=20)
@given(st.lists(st.integers(1, 23), min_size=1, max_size=5), st.integers(1, 5))
def test_time_pooling_is_the_mean_of_what_is_there(lengths, factor):
    values = torch.zeros(len(lengths), max(lengths), 2)
    for row, length in enumerate(lengths):
        values[row, :length] = torch.randn(length, 2)
    pooled, shorter = TimePooling(factor)(values, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        groups = values[row, :length].split(factor)
        assert shorter[row] == len(groups)
        expected = torch.stack([group.mean(0) for group in groups])
        torch.testing.assert_close(pooled[row, : len(groups)], expected)


def test_attentive_statistics_without_attention_are_mean_and_deviation():
    layer = AttentiveStatistics(3, hidden=2)
    nn.init.zeros_(layer.score[2].weight)
    values = torch.randn(1, 9, 3)
    expected = torch.cat([values[0, :6].mean(0), values[0, :6].std(0, correction=0)])
    got = layer(values, torch.tensor([6]))[0]
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_batches_hold_every_clip_once_and_only_its_own_frames():
    data = toy_data()
    chosen = np.arange(3, 57)
    for batches in (
        whole(data, chosen, size=8),
        TrainingBatches(data, chosen, size=8, crop=40, speed=0, seed=0),
    ):
        seen = []
        assert len(batches) == len(list(batches)) == 7
        for batch in batches:
            for row, clip in enumerate(batch.clips.tolist()):
                length = int(batch.lengths[row])
                own = data.caches["logmel"][data.first[clip] :][: data.frames[clip]]
                assert length == data.frames[clip]
                got = batch.features["logmel"][row]
                assert np.array_equal(got[:length].numpy(), own.astype(np.float32))
                assert (got[length:] == 0).all()
                assert batch.labels[row] == data.labels[clip]
                seen.append(clip)
        assert sorted(seen) == chosen.tolist()


@settings(max_examples=20)
@given(clips=st.integers(2, 60), size=st.integers(2, 20))
def test_no_batch_is_much_smaller_than_the_others(clips, size):
    batches = TrainingBatches(toy_data(), np.arange(clips), size=size, crop=40, speed=0, seed=0)
    sizes = [len(batch.clips) for batch in batches]
    assert max(sizes) - min(sizes) <= 1 < min(sizes) and max(sizes) <= max(size, 3)
    assert len(sizes) == len(batches) and sum(sizes) == clips


def test_balanced_batches_draw_each_group_as_often():
    data = toy_data(clips=120)
    groups = np.where(np.arange(100) < 10, "rare", np.where(np.arange(100) < 30, "some", "many"))
    probability = balanced_probability(groups)
    assert probability.sum() == pytest.approx(1)
    np.testing.assert_allclose(probability[[0, 10, 30]], [1 / 30, 1 / 60, 1 / 210])
    chosen = np.arange(20, 120)
    batches = TrainingBatches(
        data, chosen, size=8, crop=40, speed=0, seed=0, probability=probability
    )
    passes = [np.concatenate([batch.clips.numpy() for batch in batches]) for _ in range(40)]
    assert len(batches) == 13 and {len(clips) for clips in passes} == {100}
    drawn = np.concatenate(passes) - 20
    assert drawn.min() >= 0 and len(np.unique(drawn)) == 100
    _, numbers = np.unique(groups[drawn], return_counts=True)
    np.testing.assert_allclose(numbers / len(drawn), 1 / 3, atol=0.03)


@pytest.mark.parametrize("balance", ["none", "label", "corpus"])
def test_balance_draws_labels_or_corpora_as_often_and_class_weights_follow(tmp_path, balance):
    data = toy_data()
    names = [f"{'big' if clip < 50 else 'small'}/{clip}" for clip in range(60)]
    labels = np.where(np.arange(60) % 6 == 0, 0, np.where(np.arange(60) % 2 == 0, 1, 2))
    data = dataclasses.replace(data, labels=labels, names=names)
    seen = []
    cut = data.cut

    class Spied(ClipData):
        def cut(self, clips, **settings):
            seen.append(clips)
            return cut(clips, **settings)

    data = Spied(**{field.name: getattr(data, field.name) for field in dataclasses.fields(data)})
    learner = learner_of(epochs=8, batch_size=8, balance=balance)
    clips = np.arange(60)
    probability = learner._probability(data, clips)
    fitted(learner, data, tmp_path, train=clips, validation=[])
    drawn = np.concatenate(seen)
    assert len(drawn) == 8 * 60
    weight = _class_weight(labels, n_classes=3, probability=probability).numpy()
    if balance == "none":
        assert (np.bincount(drawn) == 8).all()
        np.testing.assert_allclose(weight, [2, 1, 2 / 3])
    elif balance == "label":
        np.testing.assert_allclose(np.bincount(labels[drawn]) / len(drawn), 1 / 3, atol=0.07)
        np.testing.assert_allclose(weight, 1, rtol=1e-6)
    else:
        assert np.mean(drawn >= 50) == pytest.approx(0.5, abs=0.07)
        share = np.bincount(labels, weights=probability)
        np.testing.assert_allclose(weight, 1 / (3 * share), rtol=1e-6)


class Answers(nn.Module):
    """Logits that tell which frames were heard: of the first feature, the mean of each."""

    def forward(self, features, lengths):
        values = next(iter(features.values()))
        valid = (torch.arange(values.shape[1]) < lengths[:, None])[..., None]
        return (values * valid).sum(1) / lengths[:, None]


@pytest.mark.parametrize("frames", [1, 4, 10, 40])
def test_windows_cover_each_clip_and_their_probabilities_are_averaged(frames):
    lengths = [1, 3, 10, 11, 25, 40]
    values = torch.randn(6, 40, 3)
    for row, length in enumerate(lengths):
        values[row, length:] = 1e3  # never heard
    got = windowed(Answers(), {"a": values}, torch.tensor(lengths), frames=frames).softmax(1)
    for row, length in enumerate(lengths):
        number = -(-length // frames)
        starts = np.round(np.linspace(0, max(0, length - frames), number)).astype(int)
        heard = np.concatenate([np.arange(s, min(s + frames, length)) for s in starts])
        assert set(heard) == set(range(length))
        each = [values[row, s : min(s + frames, length)].mean(0).softmax(0) for s in starts]
        torch.testing.assert_close(got[row], torch.stack(each).mean(0))


def test_without_windows_a_network_answers_for_whole_clips():
    features, lengths = {"a": torch.randn(2, 9, 3)}, torch.tensor([9, 4])
    assert torch.equal(
        windowed(Answers(), features, lengths, frames=None), Answers()(features, lengths)
    )
    clock = {"sample_rate": 16000, "hop_length": 256}
    assert window_frames(clock) is None and window_frames(clock | {"window_s": None}) is None
    assert window_frames(clock | {"window_s": 4}) == 250
    assert window_frames(clock | {"window_s": 0.001}) == 1


def test_validation_and_prediction_hear_windows_and_training_does_not(tmp_path):
    (plain, state, _), (cut, same, _) = (
        learned(tmp_path, epochs=3, window_s=window) for window in (None, 0.1)
    )
    assert all(torch.equal(state[name], same[name]) for name in state)
    assert plain["train_loss"].tolist() == cut["train_loss"].tolist()
    assert (plain["validation_loss"] != cut["validation_loss"]).all()
    learner = learner_of(window_s=0.1)
    learner.network = network_of("gru")(INPUTS, 3).eval()
    learner.network.load_state_dict(state)
    data = toy_data()
    batch = next(iter(whole(data)))
    with torch.inference_mode():
        want = windowed(learner.network, batch.features, batch.lengths, frames=6).softmax(1)
    np.testing.assert_allclose(learner.predict(data, batch.clips.numpy()), want, atol=1e-6)


def test_shuffled_batches_change_from_pass_to_pass_and_repeat_from_run_to_run():
    data = toy_data()

    def passes():
        batches = TrainingBatches(data, np.arange(60), size=8, crop=40, speed=0, seed=5)
        return [[batch.clips.tolist() for batch in batches] for _ in range(2)]

    first, second = passes()
    assert first != second
    assert passes() == [first, second]


def test_crops_are_parts_of_their_clips():
    data = toy_data()
    for batch in TrainingBatches(data, np.arange(60), size=8, crop=10, speed=0, seed=0):
        for row, clip in enumerate(batch.clips.tolist()):
            length = int(batch.lengths[row])
            assert length == min(10, data.frames[clip])
            own = data.caches["rms"][data.first[clip] :][: data.frames[clip], 0]
            got = batch.features["rms"][row, :length, 0].numpy().astype(np.float16)
            windows = np.lib.stride_tricks.sliding_window_view(own, length)
            assert (windows == got).all(axis=1).any()


@settings(max_examples=20)
@given(speed=st.sampled_from([0.05, 0.3, 0.9]), crop=st.sampled_from([3, 10, 100]))
def test_hurried_and_slowed_clips_keep_their_order_and_both_ends(speed, crop):
    data = toy_data()
    data = dataclasses.replace(data, caches={"time": np.arange(data.frames.sum())[:, None]})
    lengths = []
    for batch in TrainingBatches(data, np.arange(60), size=8, crop=crop, speed=speed, seed=0):
        for row, clip in enumerate(batch.clips.tolist()):
            length = int(batch.lengths[row])
            rows = batch.features["time"][row, :length, 0].long() - data.first[clip]
            assert length <= crop and rows[0] >= 0 and rows[-1] < data.frames[clip]
            steps = rows.diff()
            assert (steps >= int(1 - speed)).all() and (steps <= 2).all()
            if length < crop:  # the whole clip, at its speed
                assert rows[0] == 0 and rows[-1] >= data.frames[clip] - 2
                lengths.append(length / data.frames[clip])
    if crop == 100:
        assert min(lengths) < 1 - 0.3 * speed and max(lengths) > 1 + 0.3 * speed


def test_batches_are_bucketed_by_length():
    data = toy_data(clips=600)
    padded = sum(b.lengths.max() * len(b.clips) for b in whole(data, size=8))
    shuffled = TrainingBatches(data, np.arange(600), size=8, crop=40, speed=0, seed=0)
    assert sum(b.lengths.max() * len(b.clips) for b in shuffled) < 1.15 * padded


@settings(max_examples=20)
@given(st.integers(1, 200))
def test_a_batch_holds_no_more_frames_than_allowed_or_one_clip(most_frames):
    data = toy_data()
    batches = list(whole(data, size=8, most_frames=most_frames))
    assert sorted(np.concatenate([b.clips for b in batches])) == list(range(60))
    for batch in batches:
        size, padded = len(batch.clips), len(batch.clips) * int(batch.lengths.max())
        assert size <= 8 and (padded <= most_frames or size == 1)


def test_statistics_are_those_of_the_given_clips_alone():
    data = toy_data()
    some = np.arange(0, 60, 7)
    mean, deviation = data.statistics(some)["logmel"]
    rows = np.concatenate(
        [data.caches["logmel"][data.first[c] :][: data.frames[c]] for c in some]
    ).astype(np.float64)
    np.testing.assert_allclose(mean, rows.mean(0), atol=1e-5)
    np.testing.assert_allclose(deviation, rows.std(0), atol=1e-5)


def test_spec_augment_hides_behind_the_clip_mean():
    batch = next(iter(whole(toy_data())))
    torch.manual_seed(0)
    masks = {"time_masks": 1, "time_frames": 5, "band_masks": 1, "band_share": 0.5}
    result = spec_augment(batch, **masks).features
    mean = batch.features["logmel"].sum(1, keepdim=True) / batch.lengths[:, None, None]
    kept = result["logmel"] == batch.features["logmel"]
    hidden = torch.isclose(result["logmel"], mean.expand_as(kept), atol=1e-6)
    assert (kept | hidden).all()
    assert 0.5 < kept.float().mean() < 0.95
    untouched = spec_augment(batch, **masks | {"time_masks": 0, "band_masks": 0}).features
    for name, values in batch.features.items():
        torch.testing.assert_close(untouched[name], values)


@settings(max_examples=20)
@given(st.integers(0, 3), st.integers(0, 9), st.integers(1, 20))
def test_masks_lie_where_torchaudio_draws_them(number, longest, size):
    clips = torch.ones(5, 1, 1, size)
    torch.manual_seed(0)
    hidden = _masks(number, (5, size), longest=min(longest, size), device=torch.device("cpu"))
    torch.manual_seed(0)
    for _ in range(number):
        clips = mask_along_axis_iid(clips, min(longest, size), 0.0, 3)
    assert torch.equal(1 - hidden, clips[:, 0, 0])


def test_mixup_mixes_clips_and_targets_by_the_same_share():
    data = toy_data()
    batch = next(iter(whole(data)))
    targets = nn.functional.one_hot(batch.labels, 3).float()
    torch.manual_seed(0)
    mixed, soft = mixup(batch, targets, alpha=1.0)
    assert torch.equal(mixed.lengths, batch.lengths) and torch.equal(mixed.labels, batch.labels)
    torch.testing.assert_close(soft.sum(1), torch.ones(60))
    assert (soft.argmax(1) == batch.labels).all() and (soft.max(1).values < 0.99).any()
    partners = 0
    for row, length in enumerate(batch.lengths.tolist()):
        assert (mixed.features["logmel"][row, length:] == 0).all()
        for other, reach in enumerate(batch.lengths.tolist()):
            both = min(length, reach)
            own, theirs = (batch.features["logmel"][i, :both] for i in (row, other))
            got = mixed.features["logmel"][row]
            share = ((got[:both] - theirs) * (own - theirs)).sum() / (own - theirs).square().sum()
            expected = share * own + (1 - share) * theirs
            if other == row or not torch.allclose(got[:both], expected, atol=1e-4):
                continue
            if share < 0.999:  # else unmixed, which any partner explains
                partners += 1
                torch.testing.assert_close(
                    soft[row], torch.lerp(targets[other], targets[row], share)
                )
            assert torch.equal(got[both:], batch.features["logmel"][row, both:])
    assert partners > 40
    assert mixup(batch, targets, alpha=0) == (batch, targets)


def test_noise_has_the_share_of_each_dimension_and_leaves_padding_alone():
    batch = next(iter(whole(toy_data(clips=600), size=600, most_frames=10**6)))
    deviation = {"logmel": torch.arange(12.0), "rms": torch.tensor([5.0])}
    torch.manual_seed(0)
    noisy = add_noise(batch, deviation, share=0.1)
    valid = torch.arange(batch.features["rms"].shape[1]) < batch.lengths[:, None]
    for name, values in batch.features.items():
        noise = (noisy.features[name] - values)[valid]
        torch.testing.assert_close(noise.std(0), 0.1 * deviation[name], rtol=0.05, atol=1e-6)
        assert noise.mean(0).abs().max() < 0.05
        assert (noisy.features[name][~valid] == 0).all()
    assert add_noise(batch, deviation, share=0) is batch


# Jobs ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def this_process():
    """Jobs run here, one after the other: other processes would import all libraries first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stages.learning.jobs.processes", lambda _: 1)
        yield


def experiment(tmp_path, model, *, lacking="", epochs=3, order=(0, 1, 2), start=None):
    """A small experiment on disk: two folds of toy clips of four speakers."""
    inputs = inputs_of(model)
    data = toy_data(clips=64, classes=3, inputs=inputs)
    names = np.array(["angry", "happy", "sad"])
    table = pd.DataFrame(
        {
            "clip": [f"x/{i:02}" for i in range(64)],
            "frames": data.frames,
            "label": names[data.labels],
            "speaker": np.arange(64) // 16,
        }
    )
    caches = tmp_path / "features"
    caches.mkdir(exist_ok=True)
    for name, cache in data.caches.items():
        np.save(caches / f"{name}.npy", cache)
    np.save(caches / "leftover.npy", np.zeros((3, 3)))  # of an earlier choice, never read
    split = table[["clip", "label"]].copy()
    for fold in (0, 1):
        held_out = table["speaker"] % 2 == fold
        split[str(fold)] = np.where(
            held_out, "test", np.where(table["speaker"] < 2, "train", "validation")
        )
    split[ALL] = np.where(table["speaker"] < 2, "train", "validation")
    if lacking:  # and nothing else validates
        split.loc[(split["label"] == lacking) & (split["0"] == "train"), "0"] = ""
        split.loc[(split["label"] != lacking) & (split["0"] == "validation"), "0"] = ""
    params = small(model)
    settings = {
        "audio": params["audio"],
        "features": {name: {} for name in inputs},
        "model": params["model"],
        "train": params["train"]
        | {"epochs": epochs, "batch_size": 8, "warm_start": start and str(start)},
    }
    plan = make_plan(
        table[["clip", "speaker", "frames"]],
        split,
        labels=names[list(order)].tolist(),
        caches=caches,
        scratch=tmp_path / "unfinished",
        logs=tmp_path / "logs",
        settings=settings,
    )
    return plan, all_jobs(split, [0])


@pytest.mark.parametrize("model", MODELS)
def test_jobs_learn(tmp_path, model):
    plan, jobs = experiment(tmp_path, model, epochs=15 if model in SLOW else 8)
    assert jobs == [Job("0", 0), Job("1", 0), Job(ALL, 0)]
    if model not in ("gru", "svm"):  # a job that tests no clip differs in nothing else
        jobs = jobs[:2]
    run_jobs(jobs, plan)
    state = torch.load(plan.scratch / jobs[-1].name / "model.pt", weights_only=True)
    inputs = INPUTS if model == "distil" else inputs_of(model)  # those of the student
    assert state["inputs"] == inputs and state["labels"] == ["angry", "happy", "sad"]
    assert state["state"] and not (plan.scratch / jobs[-1].name / "checkpoints").exists()
    validated = gather_validation(jobs, plan)
    fitted_on_them = model in ("svm", "lda_functionals", "ensemble")
    assert validated.empty == fitted_on_them and "p_sad" in validated
    for fold, table in validated.groupby("fold"):
        own = plan.clips.loc[plan.clips[str(fold)] == "validation", "clip"]
        assert table["clip"].tolist() == own.tolist()
        assert table[["p_angry", "p_happy", "p_sad"]].sum(axis=1).to_numpy() == pytest.approx(1)
    predictions, history = gather(jobs, plan)
    assert predictions["clip"].tolist() == [f"x/{i:02}" for i in range(64)]
    names = ["p_angry", "p_happy", "p_sad"]
    np.testing.assert_allclose(predictions[names].sum(axis=1), 1, atol=1e-6)
    guess = predictions[names].to_numpy().argmax(axis=1)
    truth = predictions["label"].map(["angry", "happy", "sad"].index)
    assert (guess == truth).mean() > 0.6
    assert set(history["fold"]) == {job.fold for job in jobs}
    assert np.isfinite(history.drop(columns=["fold"]).to_numpy(float)).all()


@pytest.mark.parametrize("model", MODELS)
def test_a_job_repeats_exactly(tmp_path, model):
    results = []
    for run in "ab":
        (tmp_path / run).mkdir()
        plan, jobs = experiment(tmp_path / run, model, epochs=1)
        run_jobs(jobs[:1], plan)
        results.append(gather(jobs[:1], plan))
    for first, second in zip(*results, strict=True):
        pd.testing.assert_frame_equal(first, second, check_exact=True)


class Prior(Learner):
    """A classical model that answers with the shares of the classes in training."""

    def __init__(self, *, smoothing):
        self._smoothing = smoothing

    def least_memory(self, data):
        return 0

    def fit(self, data, *, train, validation, seed, logs, on_epoch):
        count = np.bincount(data.labels[train], minlength=data.n_classes) + self._smoothing
        self._prior = count / count.sum()
        on_epoch()
        figures = dict.fromkeys(("train_loss", "train_ua", "validation_loss", "validation_ua"), 0.5)
        return [{"epoch": 1} | figures]

    def predict(self, data, clips):
        return np.tile(self._prior, (len(clips), 1))

    def state(self):
        return {"prior": torch.tensor(self._prior)}


def test_another_kind_of_model_only_implements_the_interface(tmp_path, monkeypatch):
    monkeypatch.setattr("stages.learning.jobs.processes", lambda _: 1)
    plan, jobs = experiment(tmp_path, "svm")
    network = {"_target_": as_plugin(monkeypatch, "stages.networks.prior", Prior), "smoothing": 1}
    plan = dataclasses.replace(plan, settings=plan.settings | {"model": {"network": network}})
    run_jobs(jobs, plan)
    predictions, history = gather(jobs, plan)
    assert len(predictions) == 64 and len(history) == 3
    shares = plan.clips.loc[plan.clips["0"] == "train", "label"].value_counts()
    want = (shares["sad"] + 1) / (shares.sum() + 3)
    np.testing.assert_allclose(predictions.query("fold == 0")["p_sad"], want)
    assert (
        len(gather_validation(jobs, plan)) == (plan.clips[["0", "1"]] == "validation").sum().sum()
    )
    state = torch.load(plan.scratch / jobs[0].name / "model.pt", weights_only=True)["state"]
    assert state["prior"][2] == pytest.approx(want)


def test_an_interrupted_run_goes_on_where_it_was(tmp_path, caplog):
    plan, jobs = experiment(tmp_path, "gru")
    run_jobs(jobs[:1], plan)
    finished = plan.scratch / jobs[0].name / "model.pt"
    before = finished.stat().st_mtime_ns
    with caplog.at_level("INFO"):
        run_jobs(jobs, plan)
    assert finished.stat().st_mtime_ns == before
    assert "1 of 3 jobs were finished before" in caplog.text
    assert len(gather(jobs, plan)[0]) == 64


def test_the_scratch_folder_is_named_after_what_is_trained(tmp_path):
    plan, _ = experiment(tmp_path, "gru")
    assert experiment(tmp_path, "gru")[0].scratch == plan.scratch
    assert experiment(tmp_path, "bigru")[0].scratch != plan.scratch
    assert experiment(tmp_path, "gru", epochs=4)[0].scratch != plan.scratch
    assert experiment(tmp_path, "gru", lacking="sad")[0].scratch != plan.scratch
    assert experiment(tmp_path, "gru", order=(2, 1, 0))[0].scratch != plan.scratch


@pytest.mark.parametrize("model", MODELS)
def test_a_class_that_training_lacks_is_survived(tmp_path, model):
    plan, jobs = experiment(tmp_path, model, lacking="sad", epochs=2)
    run_jobs(jobs[:1], plan)
    probabilities = np.load(plan.scratch / jobs[0].name / "probabilities.npy")
    assert np.isfinite(probabilities).all() and probabilities.shape == (32, 3)
    history = json.loads((plan.scratch / jobs[0].name / "history.json").read_text())
    assert np.isfinite([list(row.values()) for row in history]).all()


def test_test_clips_have_no_part_in_what_is_learned(tmp_path):
    """Nothing that stands under the test clips' labels or frames changes a fold's weights."""
    states = []
    for run in "ab":
        (tmp_path / run).mkdir()
        plan, jobs = experiment(tmp_path / run, "bigru", epochs=2)
        if run == "b":
            tested = plan.clips["0"] == "test"
            plan.clips.loc[tested, "label"] = "sad"
            rows = np.concatenate(
                [np.arange(f, f + n) for f, n in plan.clips.loc[tested, ["first", "frames"]].values]
            )
            for name in INPUTS:
                cache = np.load(plan.caches / f"{name}.npy")
                cache[rows] = 100
                np.save(plan.caches / f"{name}.npy", cache)
        run_jobs(jobs[:1], plan)
        path = plan.scratch / jobs[0].name / "model.pt"
        states.append(torch.load(path, weights_only=True)["state"])
    for name, values in states[0].items():
        assert torch.equal(values, states[1][name]), name


def learned(tmp_path, *overrides, **settings):
    """History and weights of a `gru` on toy clips."""
    learner = learner_of(*overrides, **{"epochs": 6, "batch_size": 8} | settings)
    data = toy_data(shift=0.3)
    history = fitted(learner, data, tmp_path, train=range(40), validation=range(40, 60))
    validated = learner.predict(data, np.arange(40, 60))
    correct = validated.argmax(1) == data.labels[40:]
    ua = np.mean([correct[data.labels[40:] == label].mean() for label in range(3)])
    return history, learner.state(), ua


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_with_patience_the_best_epoch_is_kept_and_training_stops(tmp_path, average):
    history, _, ua = learned(tmp_path, epochs=60, patience=8, average=average)
    best = history["validation_ua"].idxmax()
    assert len(history) == best + 9 < 60
    assert ua == pytest.approx(history["validation_ua"].max(), abs=1e-6)
    assert ua > history["validation_ua"].iloc[-1]


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_without_patience_the_last_epoch_is_kept(tmp_path, average):
    history, _, ua = learned(tmp_path, epochs=12, patience=None, average=average)
    assert len(history) == 12
    assert ua == pytest.approx(history["validation_ua"].iloc[-1], abs=1e-6)
    assert history["validation_ua"].nunique() > 2


def test_tensorboard_is_shown_every_epoch(tmp_path):
    history, _, _ = learned(tmp_path, epochs=3)
    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    assert set(events.Tags()["scalars"]) == set(history.columns) - {"epoch"}
    for name in events.Tags()["scalars"]:
        shown = [event.value for event in events.Scalars(name)]
        np.testing.assert_allclose(shown, history[name], rtol=1e-6)
    assert [event.step for event in events.Scalars("train_ua")] == [5, 10, 15]  # of 40 / 8 clips


def test_validation_clips_choose_nothing_without_patience(tmp_path):
    states = []
    for run, validation in enumerate((range(40, 50), range(50, 60))):
        learner = learner_of(epochs=3, batch_size=8, patience=None)
        fitted(learner, toy_data(), tmp_path / str(run), train=range(40), validation=validation)
        states.append(learner.state())
    for name, values in states[0].items():
        assert torch.equal(values, states[1][name]), name


def test_weights_are_averaged_over_the_steps(tmp_path):
    once = {"epochs": 1, "patience": None}
    _, first, _ = learned(tmp_path, **once, average=0.0, lr=1e-9, weight_decay=0)
    _, last, _ = learned(tmp_path, **once, average=0.0)
    _, averaged, _ = learned(tmp_path, **once, average=0.9)
    weights = [name for name in last if not name.startswith("input.")]
    assert all(torch.equal(last[name], averaged[name]) for name in set(last) - set(weights))
    reached, lagging = (
        sum(torch.dist(state[name].float(), first[name].float()) for name in weights)
        for state in (last, averaged)
    )
    assert lagging < reached


@pytest.mark.parametrize("model", ["gru", "svm"])
def test_without_validation_clips_all_others_are_learned(tmp_path, model):
    plan, jobs = experiment(tmp_path, model, epochs=2)
    plan.clips.loc[plan.clips["0"] == "validation", "0"] = "train"
    run_jobs(jobs[:1], plan)
    history = pd.DataFrame(json.loads((plan.scratch / jobs[0].name / "history.json").read_text()))
    assert len(history) == (1 if model == "svm" else 2)
    assert history[["validation_loss", "validation_ua"]].isna().all(axis=None)
    assert history[["train_loss", "train_ua"]].notna().all(axis=None)
    probabilities = np.load(plan.scratch / jobs[0].name / "probabilities.npy")
    assert np.isfinite(probabilities).all()


def test_nothing_can_be_chosen_without_validation_clips(tmp_path):
    with pytest.raises(ValueError, match="train.patience: got 5, want null where no clip valid"):
        fitted(learner_of(patience=5), toy_data(), tmp_path, train=range(60), validation=[])


def course(name, *, steps=20, losses=(), **settings):
    """The learning rate of every step, or under `plateau` of every epoch."""
    overrides = [f"train.schedule.{key}={value}" for key, value in settings.items()]
    settings = composed(f"train/schedule={name}", *overrides)["train"]["schedule"]
    schedule = bind(settings, "learning")()
    optimiser = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.5)
    scheduler = schedule.scheduler(optimiser, steps=steps)
    rates = []
    for loss in losses or [None] * steps:
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step(*([loss] if losses else []))
    return np.array(rates)


def test_schedules_of_the_learning_rate():
    rates = course("onecycle", warmup=0.25)
    assert rates.argmax() == 4 and rates.max() == pytest.approx(0.5) and rates[-1] < 1e-5
    assert (np.diff(rates[:5]) > 0).all() and (np.diff(rates[4:]) < 0).all()
    np.testing.assert_allclose(
        course("cosine"), 0.25 * (1 + np.cos(np.pi * np.arange(20) / 20)), atol=1e-9
    )
    assert (course("constant") == 0.5).all()
    losses = [3, 2, 2, 2, 1, 2, 2, 2, 2]  # two epochs without a lower one are one too many
    np.testing.assert_allclose(
        course("plateau", losses=losses, factor=0.1, patience=1),
        [0.5] * 4 + [0.05] * 3 + [0.005] * 2,
    )


def test_plateau_is_told_the_validation_loss_of_every_epoch(tmp_path, monkeypatch):
    seen = []
    step = torch.optim.lr_scheduler.ReduceLROnPlateau.step

    def spy(self, metrics, *args):
        seen.append(float(metrics))
        step(self, metrics, *args)

    monkeypatch.setattr(torch.optim.lr_scheduler.ReduceLROnPlateau, "step", spy)
    plateau = ("train/schedule=plateau", "train.schedule.factor=1e-9", "train.schedule.patience=0")
    history, state, _ = learned(tmp_path, *plateau, lr=0.05, average=0)
    np.testing.assert_allclose(seen, history["validation_loss"], rtol=1e-5)
    worse = next(i for i in range(1, 6) if seen[i] >= min(seen[:i]))
    _, stopped, _ = learned(tmp_path, *plateau, lr=0.05, average=0, epochs=worse + 1)
    assert worse < 5 and all(
        torch.allclose(state[name], stopped[name], atol=1e-5)
        for name, _ in network_of("gru")(INPUTS, 3).named_parameters()
    )


def test_plateau_wants_validation_clips(tmp_path):
    learner = learner_of("train/schedule=plateau")
    with pytest.raises(
        ValueError, match="train.schedule: got Plateau.*, want .* no clip validates"
    ):
        fitted(learner, toy_data(), tmp_path, train=range(60), validation=[])


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_other_schedules_learn(tmp_path, schedule):
    history, _, _ = learned(tmp_path, f"train/schedule={schedule}", epochs=12)
    assert history["train_loss"].iloc[-1] < 0.9 * history["train_loss"].iloc[0]


def test_gradients_are_clipped(tmp_path, monkeypatch):
    """With plain steps, so that a step is as long as its gradient: at most lr * clip."""

    def moved(clip):
        monkeypatch.setattr(torch.optim, "AdamW", torch.optim.SGD)
        once = {"epochs": 1, "batch_size": 40, "average": 0, "weight_decay": 0}
        constant = "train/schedule=constant"
        _, before, _ = learned(tmp_path, constant, **once, lr=1e-12, gradient_clip=0)
        _, after, _ = learned(tmp_path, constant, **once, lr=1.0, gradient_clip=clip)
        names = [name for name, _ in network_of("gru")(INPUTS, 3).named_parameters()]
        return sum(torch.dist(after[n], before[n]) ** 2 for n in names) ** 0.5

    whole = moved(0)
    assert moved(float(whole) / 10) == pytest.approx(float(whole) / 10, rel=1e-3)


def test_a_batch_larger_than_the_training_set_is_one_batch(tmp_path):
    history, _, _ = learned(tmp_path, batch_size=1000, epochs=2)
    assert len(history) == 2 and np.isfinite(history).all(axis=None)


def test_one_clip_is_too_few_to_train_on(tmp_path):
    with pytest.raises(ValueError, match="got 1 clips to train on, want at least 2"):
        fitted(learner_of(), toy_data(), tmp_path, train=range(1), validation=range(9))


@pytest.mark.parametrize("steps", range(1, 13))
def test_any_number_of_steps_has_a_schedule(tmp_path, steps):
    learner = learner_of("train.schedule.warmup=0.2", epochs=1, batch_size=2)
    clips = np.resize(np.arange(8), 2 * steps)
    history = fitted(learner, toy_data(clips=8), tmp_path, train=clips, validation=range(8))
    assert len(history) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", 1),
        ("crop_s", 0),
        ("window_s", 0),
        ("balance", "even"),
        ("lr", 0),
        ("weight_decay", -1),
        ("average", 1),
        ("patience", 0),
        ("label_smoothing", 1),
        ("gradient_clip", -1),
        ("schedule", "cosine"),
        ("schedule.warmup", 0),
        ("schedule.warmup", 1),
        ("augment.speed", 1),
        ("augment.mixup", -1),
        ("augment.noise", -1),
        ("augment.time_masks", -1),
        ("augment.time_mask_s", -1),
        ("augment.band_masks", -1),
        ("augment.band_share", 25),
    ],
)
def test_bad_training_settings_are_named(name, value):
    with pytest.raises(ValueError, match=f"train.{name}: got {value!r}, want"):
        build_learner(composed(f"train.{name}={value}"))


@pytest.mark.parametrize(("name", "value"), [("factor", 1), ("patience", -1)])
def test_bad_settings_of_a_plateau_are_named(name, value):
    with pytest.raises(ValueError, match=f"train.schedule.{name}: got {value}, want"):
        build_learner(composed("train/schedule=plateau", f"train.schedule.{name}={value}"))


def test_a_loss_that_is_not_finite_stops_with_fold_and_epoch(tmp_path):
    plan, jobs = experiment(tmp_path, "gru")
    plan.settings["train"]["lr"] = 1e30
    place = r"fold 0, seed 0: epoch \d, batch \d of 2: the loss is nan; .* than x/\d\d, x/.*\d\d$"
    with pytest.raises(ValueError, match=place):
        run_jobs(jobs[:1], plan)
    assert not list(plan.scratch.glob("fold*"))


@pytest.mark.parametrize("during", ["fit", "predict"])
def test_a_full_gpu_is_told_apart_and_finished_jobs_are_kept(tmp_path, monkeypatch, during):
    plan, jobs = experiment(tmp_path, "gru", epochs=1)
    run_jobs(jobs[:1], plan)

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(NetworkLearner, during, full)
    with pytest.raises(ValueError, match="fold 1, seed 0: the GPU's memory is full; want fewer"):
        run_jobs(jobs[:2], plan)
    assert [path.name for path in plan.scratch.iterdir()] == [jobs[0].name]


def test_the_best_epoch_before_a_loss_that_is_not_finite_is_kept(tmp_path, monkeypatch):
    plan, jobs = experiment(tmp_path, "gru", epochs=9)
    plan.settings["train"]["patience"] = 9
    batches = []

    def broken(batch, *_, **__):
        batches.append(batch)
        share = 1 if len(batches) < 8 else float("nan")
        return batch._replace(features={k: share * v for k, v in batch.features.items()})

    monkeypatch.setattr("stages.learning.augment.add_noise", broken)
    monkeypatch.setattr("stages.learning.jobs.processes", lambda _: 1)
    with pytest.raises(ValueError, match=r"epoch 4, batch 2 .*; epoch [123], the best one before"):
        run_jobs(jobs[:1], plan)
    (kept,) = plan.scratch.glob("fold*")
    assert kept.name.startswith("fold_0-seed_0-epoch_")
    checkpoint = torch.load(kept, weights_only=True)
    assert checkpoint["labels"] == plan.labels and checkpoint["inputs"] == INPUTS
    assert all(values.isfinite().all() for values in checkpoint["state"].values())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint of the first fold, which has heard all clips that the second holds out."""
    folder = tmp_path_factory.mktemp("trained")
    plan, jobs = experiment(folder, "gru", epochs=2)
    run_jobs(jobs[:1], plan)
    return plan.scratch / jobs[0].name / "model.pt"


def test_training_starts_from_the_weights_of_a_checkpoint(tmp_path, trained):
    still = {"lr": 1e-12, "weight_decay": 0, "average": 0, "epochs": 1}
    _, state, _ = learned(tmp_path, "train/schedule=constant", **still, warm_start=str(trained))
    checkpoint = torch.load(trained, weights_only=True)
    for name, _ in network_of("gru")(INPUTS, 3).named_parameters():
        torch.testing.assert_close(state[name], checkpoint["state"][name])
    own = toy_data(shift=0.3).statistics(np.arange(40))["rms"][0]
    torch.testing.assert_close(state["input.rms_mean"], own)


def test_a_job_starts_from_what_an_equal_job_has_learned(tmp_path, trained):
    plan, jobs = experiment(tmp_path, "gru", epochs=1, start=trained)
    assert plan.clips["clip"].isin(torch.load(trained, weights_only=True)["seen"]).sum() == 32
    run_jobs(jobs[:1], plan)
    assert (plan.scratch / jobs[0].name / "model.pt").is_file()


def test_other_weights_to_start_from_are_another_run(tmp_path, trained):
    plans = []
    for content in (trained.read_bytes(), b"other"):
        (tmp_path / "start.pt").write_bytes(content)
        plan, _ = experiment(tmp_path, "gru", start=tmp_path / "start.pt")
        plans.append(plan.scratch)
    assert plans[0] != plans[1]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"model": {"name": "lstm", "network": {}}}, "model: got 'lstm', want 'gru'"),
        ({"labels": ["sad", "happy", "angry"]}, r"labels: got \['sad', .*, want \['angry', "),
        ({"features": {"mfcc": {}}}, r"features: got {'mfcc': {}}, want {'logmel': {}, 'rms'"),
        ({"inputs": {"logmel": 13, "rms": 1}}, "dimensions: got {'logmel': 13, .*, want .* 12"),
        ({"state": {}}, r"network: got {.*'hidden': .*, want the sizes of {.*'hidden': \[128, 64"),
        ({"seen": ["x/07+02#noise"]}, "was trained on 1 clips that fold 0 .* x/07;"),
        ({"seen": ["y/07", "x/07@3-4.5"]}, "was trained on 1 clips that fold 0 .* x/07;"),
        ({"seen": None}, "does not list the clips that it was trained on"),
    ],
)
def test_weights_that_do_not_fit_or_have_heard_test_clips_are_refused(
    tmp_path, trained, change, match
):
    checkpoint = torch.load(trained, weights_only=True) | change
    if checkpoint["seen"] is None:
        del checkpoint["seen"]
    torch.save(checkpoint, tmp_path / "start.pt")
    plan, jobs = experiment(tmp_path, "gru", epochs=1, start=tmp_path / "start.pt")
    with pytest.raises(ValueError, match=f"train.warm_start: .*start.pt: {match}"):
        run_jobs(jobs[:1], plan)
    assert not plan.scratch.exists()


def test_a_start_that_heard_the_test_clips_of_any_fold_is_refused(tmp_path, trained):
    plan, jobs = experiment(tmp_path, "gru", epochs=1, start=trained)
    with pytest.raises(ValueError, match="32 clips that fold 1 holds out, such as x/16"):
        run_jobs(jobs, plan)


def test_where_nothing_is_tested_a_start_must_not_have_heard_what_validates(tmp_path, trained):
    plan, jobs = experiment(tmp_path, "gru", epochs=1, start=trained)
    untested = plan.clips["1"].map({"test": "validation", "train": "train", "validation": ""})
    plan = dataclasses.replace(plan, clips=plan.clips.assign(**{"1": untested}))
    with pytest.raises(ValueError, match="was trained on 32 clips that fold 1 holds out"):
        run_jobs([job for job in jobs if job.fold == "1"], plan)


def test_a_start_may_have_heard_other_parts_of_a_long_recording(tmp_path, trained):
    held_out = {"0": ["x/long@2-4", "x/short"]}
    for seen, fine in ((["x/long@0-2", "x/long@4-5+01#slow"], True), (["x/long@3.9-5"], False)):
        checkpoint = torch.load(trained, weights_only=True) | {"seen": seen}
        torch.save(checkpoint, tmp_path / "start.pt")
        facts = {"settings": checkpoint, "labels": checkpoint["labels"], "inputs": INPUTS}
        with nullcontext() if fine else pytest.raises(ValueError, match="x/long@2-4;"):
            check_start(tmp_path / "start.pt", **facts, held_out=held_out)


def test_missing_weights_to_start_from_are_named(tmp_path):
    plan, jobs = experiment(tmp_path, "gru", epochs=1, start="models/folds/none.pt")
    with pytest.raises(FileNotFoundError, match="warm_start: models/folds/none.pt: no such .*copy"):
        run_jobs(jobs, plan)


def test_a_cache_of_other_clips_is_refused(tmp_path):
    plan, jobs = experiment(tmp_path, "gru")
    np.save(plan.caches / "rms.npy", np.zeros((7, 1), np.float16))
    with pytest.raises(ValueError, match=r"rms.npy: got 7 frames, want \d+ of the clip table"):
        run_jobs(jobs[:1], plan)


@pytest.mark.parametrize("model", ["gru", "svm"])
def test_features_that_no_memory_holds_are_refused_with_their_size(tmp_path, model, monkeypatch):
    plan, jobs = experiment(tmp_path, model)
    size = 10**5  # dimensions, of which no value is ever read
    cache = np.lib.format.open_memmap(
        plan.caches / "rms.npy", "w+", dtype=np.float16, shape=(plan.frames, size)
    )
    del cache
    monkeypatch.setattr("stages.running.resources.free_memory", lambda: 10**9)
    with pytest.raises(
        ValueError,
        match=r"train: got features of logmel 12, rms 100000 dimensions, want fewer, .*: "
        r"fitting in \d processes takes \d+\.\d GB of memory, 1.0 GB are free",
    ):
        run_jobs(jobs, plan)
    assert not list(plan.scratch.glob("fold_*"))


def test_a_job_ends_when_nobody_waits_for_it(tmp_path):
    tick(tmp_path / "epochs", 2, main=os.getpid())
    tick(tmp_path / "epochs", 2.5, main=os.getppid())
    with pytest.raises(SystemExit, match="the main process has ended"):
        tick(tmp_path / "epochs", 3, main=-1)
    assert (tmp_path / "epochs").read_bytes() == 50 * b"."  # 20 for each epoch
    with pytest.raises(FileNotFoundError):  # on another machine, which knows no number
        tick(tmp_path / "gone" / "epochs", 1, main=None)


def test_a_network_without_an_input_layer_is_named():
    """Training fits that layer; without it, a worker would end in an AttributeError."""
    with pytest.raises(ValueError, match=r"torch.*Linear: got NoneType as `input`, want an Input"):
        input_layer(nn.Linear(2, 2))
