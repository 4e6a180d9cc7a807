"""Calibration to a speaker: who is enrolled, what is known of a voice, and what is never scored."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from stages.learning.batches import ClipData
from stages.learning.checkpoints import build_network
from stages.learning.learner import build_learner
from stages.learning.speaker_statistics import SpeakerCalibration, SpeakerStatistics
from stages.splits.assignment import split_clips
from stages.splits.enrolment import calibration_in_words, mark_enrolment
from stages.splits.leaks import leakage_report
from stages.splits.split_table import folds_of
from tests.support import composed
from tests.test_learning import fitted, toy_data

RULES = {"speaker_dependent": False, "sentences_held_out": False, "variants": "with_source"}
LABELS = ["angry", "happy", "sad"]


def clip_table(*, speakers: int = 6, takes: int = 4) -> pd.DataFrame:
    rows = [
        {"speaker": f"x/{speaker}", "label": label, "clip": f"x/{speaker}-{label}-{take}"}
        for speaker in range(speakers)
        for label in LABELS
        for take in range(takes)
    ]
    table = pd.DataFrame(rows)
    return table.assign(
        corpus="x", source=table["clip"], variant="clean", sentence="", sha256=table["clip"]
    )


def by_speaker(clips: pd.DataFrame) -> np.ndarray:
    speakers = clips["speaker"].str[-1].astype(int).to_numpy() % 3
    return np.where(speakers[:, None] == np.arange(3), "test", "train")


def split_of(clips: pd.DataFrame, *, validation: float = 0) -> pd.DataFrame:
    return split_clips(clips, protocol=by_speaker, **RULES, validation=validation)


def marked(clips: pd.DataFrame, *, validation: float = 0, **changes) -> pd.DataFrame:
    settings = {"number": 3, "seed": 0, "fewer": "use"} | changes
    return mark_enrolment(clips, split_of(clips, validation=validation), **settings)


def test_some_clips_of_each_held_out_speaker_are_enrolled_and_none_of_them_is_scored():
    clips = clip_table()
    before, after = split_of(clips, validation=0.25), marked(clips, validation=0.25)
    speakers = before["clip"].map(clips.set_index("clip")["speaker"])
    for fold in folds_of(before):
        trains = set(speakers[before[fold] == "train"])
        enrolled = after[fold] == "enrolment"
        numbers = speakers[enrolled].value_counts()
        assert set(numbers) == {3} and set(numbers.index) == set(speakers) - trains
        assert set(before.loc[enrolled, fold]) <= {"test", "validation"}
        assert before.loc[~enrolled, fold].equals(after.loc[~enrolled, fold])
    report = leakage_report(clips, after, name="speaker", **RULES)
    assert [fold["enrolment_clips"] for fold in report["folds"]][:3] == [9, 9, 9]


def test_clips_that_share_sound_are_enrolled_together():
    """Else a clip would be scored of which a part is known."""
    clips = clip_table()
    pairs = clips.groupby("speaker").cumcount() // 2
    first = clips.groupby([clips["speaker"], pairs])["clip"].transform("first")
    clips = clips.assign(source=first)
    split = marked(clips)
    source = split["clip"].map(clips.set_index("clip")["source"])
    for fold in folds_of(split):
        enrolled = split[fold] == "enrolment"
        assert (enrolled.groupby(source).nunique() == 1).all()
        assert enrolled.any() == (fold != "all")


def test_the_draw_heeds_names_and_the_seed_alone():
    clips = clip_table()
    chosen = marked(clips)
    shuffled = clips.sample(frac=1, random_state=1).reset_index(drop=True)
    pd.testing.assert_frame_equal(marked(shuffled), chosen)
    relabelled = clips.assign(label=np.random.default_rng(0).permutation(clips["label"]))
    pd.testing.assert_frame_equal(
        marked(relabelled).drop(columns="label"), chosen.drop(columns="label")
    )
    assert not marked(clips, seed=1).equals(chosen)


def test_segments_of_one_recording_are_drawn_together():
    clips = clip_table()
    segments = pd.concat([clips.assign(clip=clips["clip"] + f"+0{number}") for number in (1, 2)])
    segments = segments.assign(source=segments["clip"], sha256=segments["clip"])
    after = marked(segments.reset_index(drop=True))
    drawn = after.loc[after["0"] == "enrolment", "clip"]
    assert len(drawn) == 2 * 2 * 3 and set(drawn.str[:-3].value_counts()) == {2}


def test_only_eligible_clips_are_drawn():
    clips = clip_table()
    eligible = clips.set_index("clip")["label"] == "sad"
    after = marked(clips, eligible=eligible)
    assert set(after.loc[after["0"] == "enrolment", "label"]) == {"sad"}


@pytest.mark.parametrize(
    ("fewer", "parts"),
    [("use", {"enrolment": 1, "test": 2}), ("leave_out", {"": 3})],
)
def test_a_speaker_with_few_clips_is_calibrated_with_half_of_them_or_left_out(fewer, parts, caplog):
    clips = clip_table()
    few = clips[(clips["speaker"] != "x/0") | clips["clip"].str.endswith("-0")]
    few = few.reset_index(drop=True)
    after = marked(few, number=5, fewer=fewer)
    own = after["clip"].str.startswith("x/0")
    assert after.loc[own, "0"].value_counts().to_dict() == parts
    assert "1 speakers" in caplog.text and "x/0" in caplog.text


def test_speakers_who_are_known_by_fewer_clips_are_counted_and_said():
    clips = clip_table()
    few = clips[(clips["speaker"] != "x/0") | clips["clip"].str.endswith("-0")]
    few = few.reset_index(drop=True)
    section = composed("calibration=speaker", "calibration.clips=5")["calibration"]
    for fewer, words in (("use", "5 unlabelled clips, fewer of 1 speaker"), ("leave_out", "clips")):
        after = marked(few, number=5, fewer=fewer)
        report = leakage_report(few, after, name="speaker", calibration=section, **RULES)
        assert report["calibration"]["short_speakers"] == (fewer == "use")
        assert calibration_in_words(report)[0].endswith(words)


def test_a_speaker_with_one_clip_is_scored_without_enrolment():
    clips = clip_table()
    one = clips[(clips["speaker"] != "x/0") | (clips.index == 0)].reset_index(drop=True)
    after = marked(one).set_index("clip")
    assert after.loc["x/0-angry-0", "0"] == "test"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"number": 0}, "calibration.clips: got 0"),
        ({"number": "some"}, "calibration.clips: got 'some'"),
        ({"fewer": "maybe"}, "calibration.fewer: got 'maybe'"),
        ({"number": 12, "fewer": "leave_out"}, "calibration.clips: got 12"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        marked(clip_table(), **changes)


def test_speakers_must_be_known_and_held_out():
    clips = clip_table()
    unknown = clips.assign(speaker=clips["speaker"].replace("x/0", "x/unknown"))
    split = split_of(clips)
    with pytest.raises(ValueError, match="x has 12 clips of unknown speakers"):
        mark_enrolment(unknown, split, number=3, seed=0, fewer="use")
    shared = RULES | {"speaker_dependent": True}
    section = composed("calibration=speaker")["calibration"]
    with pytest.raises(ValueError, match="calibration: got speaker with split=random"):
        leakage_report(clips, split, name="random", calibration=section, **shared)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ((), "speaker-calibrated, 10 unlabelled clips"),
        (("calibration.clips=1",), "speaker-calibrated, 1 unlabelled clip"),
        (("calibration.clips=all",), "transductive"),
        (("calibration.statistics=none",), "10 unlabelled clips of each speaker not scored"),
    ],
)
def test_what_is_known_is_said(overrides, words):
    section = composed("calibration=speaker", *overrides)["calibration"]
    (said,) = calibration_in_words({"calibration": section})
    assert words in said
    assert calibration_in_words({}) == []


def voices(*, speakers: int, clips: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of normal speakers (std 3) whose clips are normal (std 1), and their speakers."""
    random = np.random.default_rng(seed)
    means = random.normal(0, 3, (speakers, 5))
    vectors = means[:, None] + random.normal(0, 1, (speakers, clips, 5))
    names = np.repeat([f"x/{number}" for number in range(speakers)], clips)
    return vectors.reshape(-1, 5), names


def test_variances_are_those_of_speakers_and_of_clips():
    vectors, names = voices(speakers=4000, clips=3)
    found = SpeakerStatistics.fit(vectors, names, std=False)
    np.testing.assert_allclose(found.between, 9, rtol=0.1)
    np.testing.assert_allclose(found.within * 3 / 2, 1, rtol=0.1)  # the variance of three clips


def test_the_estimate_is_the_best_linear_one():
    """It errs less than the mean of the clips, and than the average speaker."""
    vectors, names = voices(speakers=200, clips=40)
    found = SpeakerStatistics.fit(vectors, names, std=False)
    random = np.random.default_rng(9)
    truth = random.normal(0, 0.7, (300, 5))  # voices more alike than those of the training
    nowhere = np.zeros(5)
    narrow = dataclasses.replace(found, axis=nowhere, around=np.full(5, 0.49))
    errors = {"shrunk": [], "mean": [], "average": []}
    for voice in truth:
        clips = voice + random.normal(0, 1, (2, 5))
        errors["shrunk"].append(narrow.of_speaker(clips)[0] - voice)
        errors["mean"].append(clips.mean(axis=0) - voice)
        errors["average"].append(narrow.mean - voice)
    error = {name: np.square(values).mean() for name, values in errors.items()}
    assert error["shrunk"] < 0.8 * min(error["mean"], error["average"])


def on_a_line(*, speakers: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thirty clips of speakers who differ along one direction, by less than their clips do.

    Returns vectors [speakers * 30, 40], the names of their speakers, and the speakers' means.
    """
    random = np.random.default_rng(0)
    direction = random.permutation(np.repeat([1.0, -1.0], 20))
    means = random.normal(0, 1, (speakers, 1)) * direction
    vectors = means[:, None] + random.normal(0, 2, (speakers, 30, 40))
    names = np.repeat([f"x/{number:03}" for number in range(speakers)], 30)
    return vectors.reshape(-1, 40), names, means


def test_all_values_of_a_clip_together_tell_where_a_voice_lies():
    vectors, names, means = on_a_line(speakers=40)
    found = SpeakerStatistics.fit(vectors[:900], names[:900], std=False)
    by_value = dataclasses.replace(found, axis=np.zeros(40), around=found.between)

    def error(statistics: SpeakerStatistics, *, clips: int) -> float:
        heard = [statistics.of_speaker(vectors[n : n + clips])[0] for n in range(900, 1200, 30)]
        return np.square(heard - means[30:]).mean()

    assert error(found, clips=1) < 0.5 * error(by_value, clips=1)
    assert error(found, clips=3) < 0.5 * error(by_value, clips=3)
    assert error(found, clips=30) < error(by_value, clips=30)


def test_few_voices_have_no_direction_and_equal_clips_do_no_harm():
    vectors, names, _ = on_a_line(speakers=5)
    assert not SpeakerStatistics.fit(vectors[:120], names[:120], std=False).axis.any()
    found = SpeakerStatistics.fit(vectors, names, std=False)
    assert found.axis.any() and (found.around >= 0).all()
    zeros = SpeakerStatistics.fit(np.zeros((50, 3)), np.repeat(list("abcde"), 10), std=False)
    mean, std = zeros.of_speaker(np.ones((1, 3)))
    assert np.isfinite(mean).all() and (std > 0).all()


def test_without_a_clip_a_voice_is_the_average_one_and_with_many_its_own():
    vectors, names = voices(speakers=20, clips=40)
    found = SpeakerStatistics.fit(vectors, names, std=True)
    mean, std = found.of_speaker(vectors[:0])
    np.testing.assert_allclose(mean, found.mean)
    np.testing.assert_allclose(std, np.sqrt(found.within))
    own = 2 * voices(speakers=1, clips=4000, seed=5)[0]
    mean, std = found.of_speaker(own)
    np.testing.assert_allclose(mean, own.mean(axis=0), atol=1e-2)
    np.testing.assert_allclose(std, own.std(axis=0), rtol=1e-2)


def test_one_training_speaker_is_enough_and_constants_do_no_harm():
    vectors, names = voices(speakers=1, clips=40)
    vectors[:, 0] = 7
    found = SpeakerStatistics.fit(vectors, names, std=False)
    own = vectors[:3] + 5
    mean, std = found.of_speaker(own)
    share = (mean - found.mean)[1:] / (own.mean(axis=0) - found.mean)[1:]
    assert (share > 0).all() and (share < 1).all()
    many, _ = found.of_speaker(np.tile(own, (4000, 1)))
    np.testing.assert_allclose(many[1:], own.mean(axis=0)[1:], rtol=1e-2)
    assert np.isfinite(mean).all() and (std > 0).all()


def test_each_clip_is_known_by_all_others():
    vectors, names = voices(speakers=20, clips=40)
    found = SpeakerStatistics.fit(vectors, names, std=True)
    mean, std = found.of_others(vectors[:6])
    for row in range(6):
        others = np.delete(vectors[:6], row, axis=0)
        for got, want in zip((mean[row], std[row]), found.of_speaker(others), strict=True):
            np.testing.assert_allclose(got, want)
    np.testing.assert_allclose(found.of_others(vectors[:1])[0], found.mean)


def test_clips_of_one_voice_are_told_from_those_of_others():
    vectors, names = voices(speakers=60, clips=10)
    found = SpeakerStatistics.fit(vectors[:400], names[:400], std=False)
    known, own, other = vectors[400:405], vectors[405:410], vectors[420::10]
    assert np.mean([found.same_speaker(vector, known) > 0 for vector in own]) > 0.7
    assert np.mean([found.same_speaker(vector, known) < 0 for vector in other]) > 0.7


def test_a_clip_never_serves_for_itself():
    vectors, names = voices(speakers=20, clips=40)
    clip_names = [f"x/{number}" for number in range(len(names))]
    data = dataclasses.replace(toy_data(clips=len(names)), speakers=list(names), names=clip_names)
    calibration = SpeakerCalibration(statistics="mean")
    calibration.fit(vectors[:400], names[:400])
    clips, whole = np.array([400, 401, 402, 440]), vectors.__getitem__
    for enrolment, others in (([400, 402, 405], [402, 405]), ([405], [405]), ([], [])):
        enrolled = dataclasses.replace(data, enrolment=np.array(enrolment, dtype=np.int64))
        found = calibration.apply(enrolled, clips, vectors[clips], represent=whole)
        mean, std = calibration.statistics.of_speaker(vectors[others])
        np.testing.assert_allclose(found[0], (vectors[400] - mean) / std)
        mean, std = calibration.statistics.of_speaker(vectors[enrolment])
        np.testing.assert_allclose(found[1], (vectors[401] - mean) / std)
        mean, std = calibration.statistics.of_speaker(vectors[:0])
        np.testing.assert_allclose(found[3], (vectors[440] - mean) / std)
    # A speaker who was trained on is known by those clips, even if others were enrolled.
    own = vectors[:40]
    known = dataclasses.replace(data, enrolment=np.array([3]))
    found = calibration.apply(known, np.array([3]), vectors[[3]], represent=whole)
    mean, std = calibration.statistics.of_speaker(own)
    np.testing.assert_allclose(found[0], (vectors[3] - mean) / std)


def calibrated(model: str, *overrides: str, **train):
    params = composed(f"model={model}", "calibration=speaker", *overrides)
    return build_learner(params | {"train": params["train"] | train})


def voiced_data(*, speakers: int = 8, shift: float = 6.0) -> ClipData:
    """Toy clips, of which each speaker shifts every value by far more than emotions do."""
    data = toy_data(clips=20 * speakers, shift=1.5)
    speaker = np.arange(len(data.labels)) // 20
    offsets = np.random.default_rng(3).normal(0, shift, speakers)
    rows = np.repeat(offsets[speaker], data.frames)
    front = np.zeros(min(data.first))
    rows = np.concatenate([front, rows, np.zeros(1000)])
    caches = {
        name: cache + rows[: len(cache), None].astype(cache.dtype)
        for name, cache in data.caches.items()
    }
    names = [f"x/{number:03}" for number in range(len(data.labels))]
    whose = [f"x/{number}" for number in speaker]
    return dataclasses.replace(data, caches=caches, names=names, speakers=whose)


def test_a_variant_has_a_voice_of_its_own():
    names = ["x/a", "x/a#slow", "x/b#fast", "x/c%23slow", "x/b+01#fast"]
    data = dataclasses.replace(toy_data(clips=5), names=names, speakers=["x/1"] * 5)
    assert data.voices_of(np.arange(5)) == ["x/1", "x/1#slow", "x/1#fast", "x/1", "x/1#fast"]


SVM = ("features=[logmel,rms]", "model.network.functionals=[mean]")
GRU = ("model.network.normalisation=fold", "model.network.pooling=4")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "overrides", "train"),
    [("svm", SVM, {}), ("gru", GRU, {"epochs": 6, "batch_size": 8})],
)
def test_calibration_finds_emotions_below_voices(tmp_path, model, overrides, train):
    data = voiced_data()
    whose = np.array(data.speakers)
    held_out = np.flatnonzero(np.isin(whose, ["x/6", "x/7"]))
    training = np.setdiff1d(np.arange(len(whose)), held_out)
    enrolment = held_out[held_out // 3 % 3 == 0]
    scored = np.setdiff1d(held_out, enrolment)
    data = dataclasses.replace(data, enrolment=enrolment)
    learner = calibrated(model, *overrides, **train)
    # The final fit of `svm` includes the validation clips, whose speakers it then knows.
    validation = scored if model == "gru" else []
    history = fitted(learner, data, tmp_path, train=training, validation=validation)
    probabilities = learner.predict(data, scored)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert learner.predict(data, scored[:0]).shape == (0, 3)
    accuracy = (probabilities.argmax(axis=1) == data.labels[scored]).mean()
    assert accuracy > 0.6
    if model == "gru":  # the history ends with what the calibrated network does
        recalls = [
            (probabilities.argmax(axis=1) == label)[data.labels[scored] == label].mean()
            for label in range(3)
        ]
        assert history["validation_ua"].iloc[-1] == pytest.approx(np.mean(recalls))
    # The order of the clips is of no importance, nor are labels of enrolment.
    order = np.random.default_rng(0).permutation(len(scored))
    np.testing.assert_allclose(
        learner.predict(data, scored[order]), probabilities[order], atol=1e-6
    )
    labels = data.labels.copy()
    labels[enrolment] = (labels[enrolment] + 1) % 3
    other = dataclasses.replace(data, labels=labels)
    np.testing.assert_array_equal(learner.predict(other, scored), probabilities)
    # Without enrolment the voice is taken for the average one, which is something else.
    nobody = dataclasses.replace(data, enrolment=enrolment[:0])
    assert np.abs(learner.predict(nobody, scored) - probabilities).max() > 0.01


def test_a_calibrated_network_is_built_again_from_its_checkpoint(tmp_path):
    data = voiced_data()
    learner = calibrated("gru", *GRU, epochs=1, batch_size=8)
    everything = np.arange(len(data.labels))
    fitted(learner, data, tmp_path, train=everything, validation=[])
    params = composed("model=gru", "calibration=speaker", *GRU)
    checkpoint = params | {"inputs": data.inputs, "labels": LABELS, "state": learner.state()}
    network = build_network(checkpoint)
    batch = data.cut(everything[:4], offset=np.zeros(4, np.int64), frames=data.frames[:4])
    expected = learner.network(batch.features, batch.lengths)
    np.testing.assert_array_equal(
        network(batch.features, batch.lengths).detach(), expected.detach()
    )


def test_what_cannot_be_calibrated_is_named(tmp_path):
    with pytest.raises(ValueError, match="calibration: got 'speaker', want none with model=distil"):
        calibrated("distil")
    with pytest.raises(ValueError, match="calibration.statistics: got 'mode'"):
        calibrated("svm", "calibration.statistics=mode")
    learner = calibrated("gru", *GRU, epochs=1, batch_size=8, window_s=1.0)
    data = voiced_data(speakers=2)
    with pytest.raises(ValueError, match=r"train.window_s"):
        fitted(learner, data, tmp_path, train=np.arange(20), validation=[])
    assert calibrated("svm", "calibration.statistics=none").calibration is None
