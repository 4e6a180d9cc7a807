"""Ensembles and distillation: the average, its weights, what a student learns and what is kept."""

import dataclasses

import numpy as np
import pytest
import torch

from stages.exporting import conversion, parity
from stages.exporting.graph import open_session, to_onnx
from stages.learning.batches import ClipData
from stages.learning.committee import mixture_weights
from stages.learning.learner import build_learner, described
from stages.learning.recogniser import load_recogniser
from stages.learning.training_plan import _target_modules
from tests.support import ROOT, composed, speech_like

INPUTS = {"ge2e": 4, "mfcc": 3, "rms": 1}
#: Two small members: a support vector machine and a recurrent network.
MEMBERS = (
    "model/members=[frozen_ge2e,bigru]",
    "model.members.bigru.features=[mfcc,rms]",
    "model.members.bigru.train.epochs=3",
    "model.members.bigru.train.batch_size=8",
    "model.members.bigru.model.network.hidden=8",
)
PAIR = "model/members=[svm,ge2e]"
STUDENT = (
    "model.student.bigru.features=[mfcc,rms]",
    "model.student.bigru.train.epochs=2",
    "model.student.bigru.train.batch_size=8",
    "model.student.bigru.model.network.hidden=8",
)
TRAIN, VALIDATION, TEST = np.arange(30), np.arange(30, 45), np.arange(45, 60)
NOTHING = TRAIN[:0]


def toy_data(*, shift=1.0) -> ClipData:
    """Clips of three classes and six speakers, which differ in every feature."""
    random = np.random.default_rng(0)
    labels = np.arange(60) % 3
    frames = random.integers(5, 20, 60)
    caches = {}
    for name, size in INPUTS.items():
        middle = random.normal(0, shift, (3, size))[labels]
        caches[name] = random.normal(np.repeat(middle, frames, axis=0)).astype(np.float16)
    first, speakers = np.cumsum(frames) - frames, [f"x/{clip // 10}" for clip in range(60)]
    return ClipData(caches, first, frames, labels, 3, speakers=speakers)


def ensemble(*overrides):
    return composed("model=ensemble", *MEMBERS, *overrides)


def distil(*overrides):
    return composed("model=distil", *MEMBERS, *STUDENT, *overrides)


def fitted(params, folder, data=None, *, validation=VALIDATION):
    """The learner of these parameters, fitted, its history, and the number of finished epochs."""
    learner, ticks = build_learner(params), []
    history = learner.fit(
        data or toy_data(),
        train=TRAIN,
        validation=validation,
        seed=3,
        logs=folder / "logs",
        on_epoch=lambda: ticks.append(1),
    )
    assert len(ticks) == learner.epochs
    return learner, history


def alone(params, name, folder, *, validation=VALIDATION):
    """The predictions of a member that is trained as a model of its own."""
    part, data = params["model"]["members"][name], toy_data()
    caches = {feature: data.caches[feature] for feature in part["features"]}
    data = dataclasses.replace(data, caches=caches)
    learner, _ = fitted(part, folder, data, validation=validation)
    return learner.predict(data, np.arange(60))


def test_an_ensemble_is_the_average_of_models_trained_alone(tmp_path):
    params = ensemble()
    learner, history = fitted(params, tmp_path)
    members = [alone(params, name, tmp_path) for name in ("frozen_ge2e", "bigru")]
    got = learner.predict(toy_data(), np.arange(60))
    np.testing.assert_allclose(got, (members[0] + members[1]) / 2, atol=1e-12)
    assert learner.fits_validation  # as the machine does
    (row,) = history
    fair = alone(params, "frozen_ge2e", tmp_path, validation=NOTHING)
    fair = ((fair + members[1]) / 2)[VALIDATION]
    truth = toy_data().labels[VALIDATION]
    assert row["validation_loss"] == pytest.approx(-np.log(fair[np.arange(15), truth]).mean())
    assert row["validation_ua"] == pytest.approx((fair.argmax(1) == truth).mean())


def test_the_weights_are_those_of_the_lowest_loss_on_validation_clips(tmp_path):
    params = ensemble("model.network.weights=validation")
    learner, _ = fitted(params, tmp_path)
    fair = [
        alone(params, "frozen_ge2e", tmp_path, validation=NOTHING),
        alone(params, "bigru", tmp_path),
    ]
    truth = toy_data().labels[VALIDATION]
    likelihoods = np.stack(fair)[:, VALIDATION, truth]
    grid = np.linspace(0, 1, 1001)
    losses = [-np.log(w * likelihoods[0] + (1 - w) * likelihoods[1]).mean() for w in grid]
    assert learner.weights[0] == pytest.approx(grid[np.argmin(losses)], abs=2e-3)
    members = [alone(params, name, tmp_path) for name in ("frozen_ge2e", "bigru")]
    got = learner.predict(toy_data(), TEST)
    want = np.tensordot(learner.weights, np.stack(members)[:, TEST], axes=1)
    np.testing.assert_allclose(got, want, atol=1e-12)


def test_a_mixture_prefers_who_is_right():
    random = np.random.default_rng(0)
    good, poor = random.uniform(0.5, 0.9, 200), random.uniform(0.1, 0.3, 200)
    np.testing.assert_allclose(mixture_weights(np.stack([poor, good])), [0, 1], atol=1e-6)
    np.testing.assert_allclose(mixture_weights(np.stack([good, good])), 0.5)
    # Each is right about half of the clips; nobody gave a class that training lacked a chance.
    halves = np.stack([np.tile([0.9, 0.1, 0.0], 50), np.tile([0.1, 0.9, 0.0], 50)])
    np.testing.assert_allclose(mixture_weights(halves), 0.5)


def test_the_state_holds_every_member_and_the_weights(tmp_path):
    learner, _ = fitted(ensemble(), tmp_path)
    state = learner.state()
    assert {name.partition(".")[0] for name in state} == {"frozen_ge2e", "bigru", "weights"}
    assert "frozen_ge2e.support_vectors" in state and "bigru.classifier.1.weight" in state
    torch.save(state, tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True).keys() == state.keys()


@pytest.mark.parametrize(
    "name",
    sorted({p.stem for p in ROOT.glob("conf/model/members/*.yaml")} - {"frozen_ge2e"}),
)
def test_a_member_is_the_model_of_its_name(name):
    params = composed("model=ensemble", f"model/members=[{name}]")
    member = params["model"]["members"][name]
    assert member["features"] == list(params["features"])
    own = composed(f"model={name}", "data=real")
    assert member["model"] == own["model"]
    assert member["features"] == list(own["features"])
    if name not in ("svm", "lda_functionals"):  # which have no training
        assert member["train"] == own["train"]


def test_the_default_members_read_what_they_read_alone():
    params, alone = composed("model=ensemble"), composed("model=lda")
    assert list(params["model"]["members"]) == ["lda", "lda_functionals"]
    assert params["features"]["ge2e"] == alone["features"]["ge2e"]
    assert params["features"]["mfcc"] == composed("model=lda_functionals")["features"]["mfcc"]


def test_a_frozen_encoder_is_read_by_an_svm():
    params = composed("model=ensemble", "model/members=[frozen_ge2e]")
    member, own = params["model"]["members"]["frozen_ge2e"], composed("model=svm")["model"]
    assert member["features"] == list(params["features"]) == ["ge2e"]
    functionals = {"functionals": ["mean", "deviation"]}
    assert member["model"]["network"] == own["network"] | functionals


# Distillation ----------------------------------------------------------------------------------


def targets_of(params, folder, monkeypatch, data=None, *, validation=VALIDATION):
    """The targets that the student is trained on."""
    learner, seen = build_learner(params), []
    student = learner._student.learner
    fit = student.fit
    monkeypatch.setattr(student, "fit", lambda data, **s: seen.append(data) or fit(data, **s))
    settings = {"train": TRAIN, "validation": validation, "seed": 3, "logs": folder / "logs"}
    learner.fit(data or toy_data(), **settings, on_epoch=lambda: None)
    return seen[0].targets


def test_targets_mix_labels_with_what_the_teacher_predicts(tmp_path, monkeypatch):
    params = distil("model.network.crossfit=1", "model.network.fraction=0.6")
    params["model"]["network"]["temperature"] = 2.0
    got = targets_of(params, tmp_path, monkeypatch)
    # The machine of a teacher is not fitted to the validation clips, which judge the student.
    members = [
        alone(params, "frozen_ge2e", tmp_path, validation=NOTHING),
        alone(params, "bigru", tmp_path),
    ]
    soft = np.sqrt((members[0] + members[1])[TRAIN] / 2)
    soft /= soft.sum(axis=1, keepdims=True)
    hard = np.eye(3)[toy_data().labels]
    np.testing.assert_allclose(got[TRAIN], 0.6 * soft + 0.4 * hard[TRAIN], atol=1e-6)
    np.testing.assert_array_equal(got[VALIDATION], hard[VALIDATION])


def test_a_speaker_s_own_labels_have_no_part_in_what_the_teacher_says_of_them(
    tmp_path, monkeypatch
):
    params = distil("model.network.crossfit=3", "model.network.fraction=1")
    before = targets_of(params, tmp_path, monkeypatch)
    data = toy_data()
    labels = np.where(np.asarray(data.speakers) == "x/1", (data.labels + 1) % 3, data.labels)
    changed = dataclasses.replace(data, labels=labels)
    after = targets_of(params, tmp_path, monkeypatch, changed)
    own = np.arange(10, 20)
    np.testing.assert_array_equal(before[own], after[own])
    others = np.setdiff1d(TRAIN, own)
    assert (before[others] != after[others]).any(axis=1).all()


def test_a_student_without_a_share_of_the_teacher_is_trained_as_usual(tmp_path):
    params = distil("model.network.fraction=0")
    student = params["model"]["student"]["bigru"]
    data = toy_data()
    heard = dataclasses.replace(data, caches={n: data.caches[n] for n in student["features"]})
    usual, history = fitted(student, tmp_path, heard)
    learner, same = fitted(params, tmp_path)
    assert history == same
    np.testing.assert_array_equal(learner.predict(data, TEST), usual.predict(heard, TEST))
    taught, _ = fitted(distil("model.network.fraction=1"), tmp_path)
    assert (taught.predict(data, TEST) != usual.predict(heard, TEST)).any()


def test_a_student_s_checkpoint_is_that_of_a_network_and_is_exported(tmp_path):
    """Its features are computed from waveforms here, so the sizes of the toy data will not do."""
    params = distil("model.student.bigru.features=[mfcc,rms]")
    conversion.check_exportable(params)
    settings = described(params)
    assert list(settings["features"]) == ["mfcc", "rms"] and settings["model"]["name"] == "bigru"
    data = toy_data()
    mfcc = np.random.default_rng(0).normal(size=(data.frames.sum(), 14)).astype(np.float16)
    data = dataclasses.replace(data, caches={**data.caches, "mfcc": mfcc})
    learner, _ = fitted(params, tmp_path, data)
    sections = {name: settings[name] for name in ("audio", "features", "model", "train")}
    inputs = {"mfcc": 14, "rms": 1}
    state = {"labels": ["a", "b", "c"], "inputs": inputs, "state": learner.state()}
    torch.save(sections | state, tmp_path / "model.pt")
    recogniser, _ = load_recogniser(tmp_path / "model.pt")
    session = open_session(to_onnx(recogniser, metadata={}))
    speech = (speech_like(32000) * 32768).astype(np.int16)
    shapes = ((1, 0.5), (3, 1.1))
    worst = parity.against_torch(session, recogniser, speech=speech, shapes=shapes)
    assert worst < parity.TORCH_BOUND


def test_the_key_of_finished_jobs_covers_the_code_of_members_and_student():
    modules = _target_modules(composed("model=distil"))
    names = {name.rpartition(".")[2] for name in modules if name.startswith("stages.networks.")}
    assert names == {"distil", "lda", "lda_functionals", "bigru"}


def test_an_ensemble_is_not_exported():
    assert composed("model=ensemble")["export"] is False
    with pytest.raises(ValueError, match="model ensemble: cannot be exported: .*export=false"):
        conversion.check_exportable(composed("model=ensemble"))


# Bad input -------------------------------------------------------------------------------------


def test_a_failing_member_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"model.members.bigru: epoch 1, batch \d .* is nan"):
        fitted(ensemble("model.members.bigru.train.lr=1e30"), tmp_path)


@pytest.mark.parametrize(
    ("model", "overrides", "message"),
    [
        ("ensemble", ["model/members=[]"], r"model.members: got \[\], want at least 2"),
        ("ensemble", ["model/members=[svm]"], r"model.members: got \['svm'\], want at least 2"),
        ("distil", ["model/members=[]"], r"model.members: got \[\], want at least one"),
        ("ensemble", ["model.network.weights=mine"], "weights: got 'mine', want equal or valid"),
        ("ensemble", [PAIR, "model.members.ge2e.train.warm_start=a.pt"], "got 'a.pt', want null"),
        (
            "ensemble",
            [PAIR, "model.members.ge2e.train.lr=0"],
            "members.ge2e: train.lr: got 0, want more",
        ),
        (
            "ensemble",
            [PAIR, "model.members.svm.model.network.c=0"],
            "members.svm: model.*c: got 0, want",
        ),
        ("distil", ["model/members@model.student=[svm]"], "student.svm.model: got 'SVM', want a n"),
        ("distil", ["model/members@model.student=[]"], r"model.student: got \[\], want one"),
        (
            "distil",
            ["model/members@model.student=[crnn,bigru]"],
            r"model.student: got \['crnn', 'bigru'\], want one",
        ),
        ("distil", ["model.student.bigru.train.warm_start=a.pt"], "bigru.train.warm_start: got"),
        ("distil", ["model.network.crossfit=0"], "model.network.crossfit: got 0, want at least 1"),
        ("distil", ["model.network.temperature=0"], "network.temperature: got 0, want more than 0"),
        ("distil", ["model.network.fraction=70"], "model.network.fraction: got 70, want 0 to 1"),
    ],
)
def test_bad_settings_are_named(model, overrides, message):
    with pytest.raises(ValueError, match=message):
        build_learner(composed(f"model={model}", *overrides))


@pytest.mark.parametrize("heard", ["[mfcc,pitch]", "[]"])
def test_a_feature_that_is_not_computed_is_named_before_any_job(heard):
    overrides = [f"model.members.bigru.features={heard}"]
    with pytest.raises(ValueError, match=r"bigru.features: got \[.*, want some of \['ge2e', 'mfcc"):
        build_learner(ensemble(*overrides)).least_memory(toy_data())
    overrides = [f"model.student.bigru.features={heard}"]
    with pytest.raises(ValueError, match=r"student.bigru.features: got \[.*, want some of"):
        build_learner(distil(*overrides)).least_memory(toy_data())


def test_weights_are_not_chosen_without_validation_clips(tmp_path):
    params = ensemble("model.network.weights=validation")
    with pytest.raises(ValueError, match="weights: got 'validation', want equal .*validation 0"):
        fitted(params, tmp_path, validation=NOTHING)


def test_an_ensemble_is_trained_without_validation_clips(tmp_path):
    learner, (row,) = fitted(ensemble(), tmp_path, validation=NOTHING)
    assert row["train_ua"] > 0.5 and np.isnan(row["validation_ua"])
    assert learner.predict(toy_data(), NOTHING).shape == (0, 3)


def test_more_groups_than_training_speakers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="model.network.crossfit: got 4, want at most 3"):
        fitted(distil("model.network.crossfit=4"), tmp_path)
