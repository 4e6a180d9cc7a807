"""Linear discriminant analysis: solved as scikit-learn does, for any classes, with known voices."""

import dataclasses

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import log_loss

from stages.learning.functionals import functionals
from stages.learning.learner import build_learner
from stages.learning.linear import DiscriminantAnalysis
from stages.settings.loading import bind
from tests.support import composed
from tests.test_learning import toy_data

NOTHING = np.zeros(0, np.int64)
CLIPS, TRAIN = np.arange(60), np.arange(40)


def learner_of(**network):
    params = composed("model=lda", "features=[logmel,rms]")
    params["model"]["network"] |= network
    return build_learner(params)


def fitted(data, folder, *, train=TRAIN, validation=NOTHING, **network):
    learner = learner_of(**network)
    facts = {"seed": 0, "logs": folder, "on_epoch": lambda: None}
    return learner, learner.fit(data, train=train, validation=validation, **facts)


def statistics(data):
    """Mean and deviation of each clip's frames, standardised over the training clips."""
    starts = zip(data.first, data.frames, strict=True)
    rows = np.concatenate([np.arange(first, first + frames) for first, frames in starts])
    clip, known = np.repeat(CLIPS, data.frames), np.repeat(CLIPS < 40, data.frames)
    values = np.hstack([data.caches[name][rows].astype(float) for name in data.caches])
    values = (values - values[known].mean(0)) / values[known].std(0)
    whole = [values[clip == number] for number in CLIPS]
    vectors = np.array([np.r_[part.mean(0), np.sqrt(part.var(0) + 1e-5)] for part in whole])
    return (vectors - vectors[TRAIN].mean(0)) / vectors[TRAIN].std(0)


@pytest.mark.parametrize(("classes", "shrinkage"), [(3, 0.5), (2, 0.9)])
def test_the_layer_is_what_scikit_learn_finds(tmp_path, classes, shrinkage):
    data = toy_data(classes=classes, shift=0.3)
    learner, history = fitted(data, tmp_path, validation=np.arange(40, 50), shrinkage=shrinkage)
    vectors = statistics(data)
    want = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage=shrinkage, priors=[1 / classes] * classes
    ).fit(vectors[TRAIN], data.labels[TRAIN])
    np.testing.assert_allclose(learner.predict(data, CLIPS), want.predict_proba(vectors), atol=2e-3)
    (row,) = history
    correct = want.predict(vectors[40:50]) == data.labels[40:50]
    recalls = [correct[data.labels[40:50] == label].mean() for label in range(classes)]
    assert row["validation_ua"] == pytest.approx(np.mean(recalls)) and row["epoch"] == 1


def test_deviations_count_of_as_many_dimensions_as_are_named(tmp_path):
    """Of `logmel` the first three, of `rms`, which is not named, all; others have no effect."""
    data = toy_data(shift=0.3)
    learner, _ = fitted(data, tmp_path, deviations={"logmel": 3, "ge2e": 256})
    sizes = data.inputs
    width = sum(sizes.values())
    kept = [*range(width), *(width + n for n in range(width) if not 3 <= n < sizes["logmel"])]
    vectors = statistics(data)[:, kept]
    want = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.5, priors=[1 / 3] * 3)
    want.fit(vectors[TRAIN], data.labels[TRAIN])
    np.testing.assert_allclose(learner.predict(data, CLIPS), want.predict_proba(vectors), atol=2e-3)


def test_the_third_layer_of_the_encoder_counts_by_its_mean_alone():
    params = composed("model=lda")
    network = bind(params["model"]["network"], "networks")({"ge2e": 512}, 7)
    assert params["features"]["ge2e"]["layer"] == [2, 3]
    assert network.classifier.in_features == 512 + 256
    assert composed("model=svm", "features=[ge2e]")["features"]["ge2e"]["layer"] == 2


@pytest.mark.parametrize("classes", [2, 3])
def test_functionals_are_standardised_limited_and_solved_as_scikit_learn_does(tmp_path, classes):
    data, names = toy_data(classes=classes, shift=0.3), ["mean", "percentiles"]
    params = composed("model=lda_functionals", "features=[logmel,rms]")
    params["model"]["network"] |= {"functionals": names, "limit": 1.5, "shrinkage": 0.6}
    learner = build_learner(params)
    facts = {"seed": 0, "logs": tmp_path, "on_epoch": lambda: None}
    learner.fit(data, train=TRAIN, validation=NOTHING, **facts)
    vectors = functionals(data, CLIPS, names=names).astype(float)
    vectors = (vectors - vectors[TRAIN].mean(0)) / vectors[TRAIN].std(0)
    vectors = vectors.clip(-1.5, 1.5)
    want = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage=0.6, priors=[1 / classes] * classes
    ).fit(vectors[TRAIN], data.labels[TRAIN])
    np.testing.assert_allclose(learner.predict(data, CLIPS), want.predict_proba(vectors), atol=1e-3)
    assert set(learner.state()) == {"mean", "scale", "classes", "weight", "bias"}


@pytest.mark.parametrize("model", ["lda", "lda_functionals"])
def test_probabilities_of_new_speakers_are_no_surer_than_right(tmp_path, model):
    """A temperature is fitted to training speakers who were left out, and changes no answer."""
    data = toy_data(clips=480, shift=0.2)
    speakers = [f"x/{clip // 24}" for clip in range(480)]
    rng = np.random.default_rng(1)
    offset = np.repeat(rng.normal(0, 0.4, (20, 12)), 24, axis=0)
    caches = {"logmel": (data.caches["logmel"] + np.repeat(offset, data.frames, axis=0))}
    caches = {"logmel": caches["logmel"].astype(np.float16)}
    train, test = np.arange(240), np.arange(240, 480)
    found = {}
    for named in (speakers, []):
        own = dataclasses.replace(data, caches=caches, speakers=named)
        learner = build_learner(composed(f"model={model}", "features=[logmel]"))
        facts = {"validation": NOTHING, "seed": 0, "logs": tmp_path, "on_epoch": lambda: None}
        learner.fit(own, train=train, **facts)
        found[bool(named)] = learner.predict(own, test)
    truth = data.labels[test]
    np.testing.assert_array_equal(found[True].argmax(1), found[False].argmax(1))
    assert log_loss(truth, found[True]) < 0.95 * log_loss(truth, found[False])
    sure, right = found[True].max(1).mean(), (found[True].argmax(1) == truth).mean()
    assert abs(sure - right) < 0.1, (sure, right, found[False].max(1).mean())


@pytest.mark.parametrize("speakers", [["x/1"], ["x/1", "x/2"], ["x/1"] * 19 + ["x/2"]])
def test_few_speakers_or_a_class_of_one_speaker_do(speakers):
    rng = np.random.default_rng(0)
    vectors, truth = rng.normal(size=(40, 3)), np.arange(40) % 20 // 19
    vectors[:, 0] += 2 * truth
    analysis = DiscriminantAnalysis(shrinkage=0.5, speakers=np.resize(speakers, 40))
    assert np.isfinite(analysis.fit(vectors, truth).decision_function(vectors)).all()


def test_one_clip_of_each_class_and_speaker_does():
    vectors, truth = np.random.default_rng(0).normal(size=(6, 3)), np.arange(6) % 3
    analysis = DiscriminantAnalysis(shrinkage=0.5, speakers=np.arange(6) // 3)
    assert np.isfinite(analysis.fit(vectors, truth).decision_function(vectors)).all()


def test_a_class_without_a_training_clip_is_never_said(tmp_path):
    data = toy_data(classes=4)
    train = TRAIN[data.labels[TRAIN] != 2]
    learner, _ = fitted(data, tmp_path, train=train)
    assert (learner.predict(data, CLIPS)[:, 2] < 1e-6).all()


def test_validation_clips_are_not_fitted(tmp_path):
    data, held_out = toy_data(shift=0.3), np.arange(40, 60)
    alone, _ = fitted(data, tmp_path)
    watched, _ = fitted(data, tmp_path, validation=held_out)
    found = [learner.predict(data, held_out) for learner in (alone, watched)]
    np.testing.assert_array_equal(*found)


def test_known_voices_are_taken_off_before_it_is_solved(tmp_path):
    """Speakers differ by more than emotions do, and clips of a new one tell how it sounds."""
    data = toy_data(clips=240, shift=1.0)
    speakers = [f"x/{clip // 24}" for clip in range(240)]
    offset = np.repeat(np.random.default_rng(1).normal(0, 4, (10, 12)), 24, axis=0)
    rows = np.repeat(offset, data.frames, axis=0)
    caches = {"logmel": (data.caches["logmel"] + rows).astype(np.float16)}
    names = [f"x/{clip}" for clip in range(240)]
    data = dataclasses.replace(data, caches=caches, speakers=speakers, names=names)
    train, known, test = np.arange(192), np.arange(192, 240, 2), np.arange(193, 240, 2)
    correct = {}
    for clips in (0, 10):
        params = composed("model=lda", "features=[logmel]", "calibration=speaker")
        params["calibration"]["clips"] = clips
        learner = build_learner(params)
        enrolled = dataclasses.replace(data, enrolment=known)
        facts = {"validation": NOTHING, "seed": 0, "logs": tmp_path, "on_epoch": lambda: None}
        learner.fit(enrolled, train=train, **facts)
        found = learner.predict(enrolled, test).argmax(axis=1)
        correct[clips] = (found == data.labels[test]).mean()
    assert correct[10] > 0.9 and correct[10] > correct[0] + 0.05


def test_it_cannot_be_a_student_as_it_would_not_heed_the_teacher():
    """Refused before the teacher is trained."""
    params = composed("model=distil")
    lda = composed("model=ensemble", "model/members=[lda,bigru]")["model"]["members"]["lda"]
    params["model"]["student"] = {"lda": lda}
    with pytest.raises(ValueError, match=r"model\.student\.lda\.model: got .* trained in steps"):
        build_learner(params)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shrinkage": 1.5}, r"model\.network\.shrinkage: got 1\.5, want more than 0"),
        ({"normalisation": "clip"}, r"model\.network\.normalisation: got 'clip', want fold"),
    ],
)
def test_settings_out_of_range_are_named(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        fitted(toy_data(), tmp_path, **change)


def test_one_clip_of_each_class_is_too_little():
    analysis = DiscriminantAnalysis(shrinkage=0.5, speakers="abc")
    with pytest.raises(ValueError, match="training clips: got 3, one of each class, want two"):
        analysis.fit(np.eye(3), np.arange(3))
