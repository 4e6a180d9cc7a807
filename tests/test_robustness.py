"""Degraded clips: each degradation by itself, and the accuracy on degraded clips."""

import shutil
import subprocess
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from omegaconf import OmegaConf
from scipy import signal
from sklearn.metrics import recall_score

from stages import robustness as stage
from stages import split as split_stage
from stages import train
from stages.audio.store import AudioReader, AudioStore
from stages.clips.cache import write_cache
from stages.clips.clip_table import read_clips
from stages.clips.merging import merge_corpora
from stages.clips.preparation import prepare_corpus
from stages.degradations import Scene
from stages.learning import degraded as robustness
from stages.learning.learner import Learner
from stages.learning.recogniser import Recogniser
from stages.reporting import drawing
from stages.reporting.degradation_table import COLUMNS, read_robustness, robustness_table
from stages.reporting.sections.degraded_speech import robustness_figure
from stages.settings.loading import bind
from stages.splits.split_table import read_split
from tests.support import ROOT, composed, inside

RATE = 16000
NAMES = sorted(path.stem for path in (ROOT / "conf" / "degradations").glob("*.yaml"))
ALL = composed(f"degradations=[{','.join(NAMES)}]")["degradations"]
CONDITIONS = robustness.list_conditions(ALL)[1:]
EVERY = pytest.mark.parametrize("condition", CONDITIONS, ids=lambda c: f"{c.degradation}-{c.level}")


def scene(seed=0):
    """A scene whose voices are noise from the same seed."""
    random = np.random.default_rng(seed)
    return Scene(random, RATE, lambda number, samples: random.standard_normal((number, samples)))


def speech(samples=RATE, seed=9):
    random = np.random.default_rng(seed)
    return 0.1 * signal.lfilter([1], [1, -0.9], random.standard_normal(samples))


def degrade(name, waveform, *, seed=0, **changes):
    settings = {k: v for k, v in ALL[name].items() if not isinstance(v, list)} | changes
    return bind(settings, "degradations")(waveform, scene(seed))


def decibels(ratio):
    return 10 * np.log10(ratio)


# Each degradation ------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("samples", [1, 2, 3, 7, 100, 1001, 16000])
def test_length_is_kept_and_all_is_finite(condition, samples):
    for waveform in (speech(samples), np.zeros(samples), np.ones(samples)):
        before = waveform.copy()
        degraded = condition.degrade(waveform, scene())
        assert degraded.shape == (samples,) and np.isfinite(degraded).all()
        assert np.array_equal(waveform, before)
        assert degraded.any() or samples < 100 or not waveform.any()


@EVERY
def test_chance_comes_from_the_scene_alone(condition):
    scenes = [scene(0), scene(0), scene(1)]
    untouched = scene(0).random.bit_generator.state
    first, again, other = (condition.degrade(speech(), each) for each in scenes)
    assert np.array_equal(first, again)
    drawn = scenes[0].random.bit_generator.state != untouched
    assert drawn != np.array_equal(first, other)
    assert not np.allclose(first, speech(), atol=1e-5)


@pytest.mark.parametrize("name", [c for c in NAMES if "snr_db" in ALL[c]])
@pytest.mark.parametrize("samples", [500, 16001, 50000])
def test_the_ratio_to_noise_is_as_asked_over_the_whole_clip(name, samples):
    waveform = speech(samples)
    waveform[samples // 2 :] *= 0.01
    for wanted in (20, 5, 0, -3.5):
        noise = degrade(name, waveform, snr_db=wanted) - waveform
        ratio = decibels(np.square(waveform).mean() / np.square(noise).mean())
        assert ratio == pytest.approx(wanted, abs=1e-6)
    one, two = (degrade(name, waveform, snr_db=db) - waveform for db in (20, 0))
    np.testing.assert_allclose(10 * one, two, atol=1e-9)  # the same noise at every ratio
    assert not degrade(name, np.zeros(samples), snr_db=0).any()


def power_between(noise, low, high):
    frequencies, density = signal.welch(noise, RATE, nperseg=4096)
    return density[(frequencies >= low) & (frequencies < high)].sum()


@pytest.mark.parametrize(("name", "octave_db"), [("white", 3.01), ("pink", 0.0)])
def test_the_colour_of_noise(name, octave_db):
    noise = degrade(name, speech(10 * RATE), snr_db=0) - speech(10 * RATE)
    powers = [power_between(noise, low, 2 * low) for low in (125, 250, 500, 1000, 2000, 4000)]
    np.testing.assert_allclose(np.diff(decibels(np.array(powers))), octave_db, atol=0.5)


def test_pink_noise_has_a_lowest_frequency():
    noise = degrade("pink", speech(10 * RATE), snr_db=0, lowest_hz=200) - speech(10 * RATE)
    spectrum = np.square(np.abs(np.fft.rfft(noise)))
    assert spectrum[: 10 * 190].sum() < 1e-3 * spectrum.sum()


@pytest.mark.parametrize("t60_s", [0.2, 1.0])
@pytest.mark.parametrize("ratio_db", [-5, 10])
def test_a_room_dies_away_as_long_and_as_loud_as_asked(t60_s, ratio_db):
    click = np.zeros(3 * RATE)
    click[100] = 0.5
    response = degrade("reverberation", click, t60_s=t60_s, direct_to_reverberant_db=ratio_db)
    response = response[100:] / 0.5
    energy = np.square(response)
    assert response[0] == pytest.approx(1)
    assert decibels(1 / energy[1:].sum()) == pytest.approx(ratio_db, abs=1e-6)
    left = decibels(energy[1:].sum() - np.cumsum(energy[1:])[: round(0.5 * t60_s * RATE)])
    slope = np.polyfit(np.arange(len(left)) / RATE, left, 1)[0]  # Schroeder's backward integral
    assert -60 / slope == pytest.approx(t60_s, rel=0.1)


def test_a_telephone_passes_its_band_alone():
    time_s = np.arange(RATE) / RATE
    for frequency, low, high in ((100, -90, -30), (1000, -0.3, 0.3), (5000, -200, -60)):
        tone = np.sin(2 * np.pi * frequency * time_s)
        heard = degrade("telephone", tone)[2000:-2000]
        assert low < decibels(np.square(heard).mean() / 0.5) < high
    for frequency in (300, 3400):
        tone = np.sin(2 * np.pi * frequency * time_s)
        heard = degrade("telephone", tone)[2000:-2000]
        assert decibels(np.square(heard).mean() / 0.5) == pytest.approx(-3, abs=0.3)


def test_a_level_is_that_of_the_largest_sample_in_16_bits():
    waveform = speech()
    soft, loud = (degrade("level", waveform, peak_db=db) for db in (-60, 12))
    assert np.abs(soft).max() == pytest.approx(10**-3, rel=0.02)
    assert np.array_equal(soft * 2**15, np.rint(soft * 2**15)) and len(np.unique(soft)) < 70
    clipped = np.abs(waveform) > np.abs(waveform).max() * 10 ** (-12 / 20)
    assert clipped.mean() > 0.01 and np.abs(loud).max() <= 1
    np.testing.assert_array_equal(np.abs(loud) >= 1 - 2**-15, clipped)


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("white", "snr_db", 200),
        ("pink", "snr_db", float("nan")),
        ("pink", "lowest_hz", 0),
        ("babble", "voices", 0),
        ("reverberation", "t60_s", 0),
        ("reverberation", "direct_to_reverberant_db", 99),
        ("telephone", "high_hz", 4000),
        ("telephone", "low_hz", 3400),
        ("telephone", "order", 0),
        ("level", "peak_db", -300),
    ],
)
def test_a_setting_out_of_range_is_named(name, setting, value):
    amounts = {k: v[0] for k, v in ALL[name].items() if isinstance(v, list)}
    with pytest.raises(ValueError, match=f"{setting}: got {value}, want"):
        degrade(name, speech(), **amounts | {setting: value})


# Conditions ------------------------------------------------------------------------------------


def test_each_amount_is_a_condition_after_the_clean_one():
    found = robustness.list_conditions({name: ALL[name] for name in ("telephone", "white")})
    assert [c[:3] for c in found] == [
        ("clean", None, ""),
        ("telephone", None, ""),
        *(("white", db, "dB SNR") for db in (20, 15, 10, 5, 0)),
    ]
    assert all(c.unit for c in CONDITIONS if c.level is not None)


def test_several_amounts_may_be_of_any_setting_that_has_a_unit():
    found = robustness.list_conditions({"babble": ALL["babble"] | {"snr_db": 5, "voices": [1, 4]}})
    assert [c[:3] for c in found[1:]] == [("babble", 1, "voices"), ("babble", 4, "voices")]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("babble", {"snr_db": []}),
        ("babble", {"voices": [1, 2]}),  # beside a list of snr_db
        ("white", {"snr_db": 10}),  # the curve would have no place along its axis
        ("pink", {"snr_db": 10, "lowest_hz": [20, 50]}),
        ("telephone", {"rate_hz": [8000, 16000]}),
    ],
)
def test_amounts_that_cannot_be_told_are_refused(name, change):
    with pytest.raises(
        ValueError, match=rf"degradations.{name}(.snr_db)?: got .*, want (one|no|a) list"
    ):
        robustness.list_conditions({name: ALL[name] | change})


# The recognisers -------------------------------------------------------------------------------

EMOTIONS = ["angry", "happy", "sad"]
SPEAKERS = ("a", "b", "c", "d")
OVERRIDES = (
    *("model=gru", "features=[rms,mfcc]", "split=loso", "seeds=[0,1]", "train.epochs=1"),
    *("audio.segment_s=0.5", "audio.trim_db=null", "model.network.hidden=[16,16]"),
    *("model.network.dense=[16,16]", "degradations=[white,babble,telephone,level]"),
    *("degradations.white.snr_db=[10,-10]", "degradations.babble.snr_db=[0]"),
    *("degradations.level.peak_db=[-20]", "corpora=[savee]", "split.validation=0"),
)


class Untrained(Learner):
    """A learner that fits the normalisation alone: quick, and it answers each clip otherwise."""

    fits_validation = True

    def __init__(self, build):
        self.build = build

    def least_memory(self, data):
        return 0

    def fit(self, data, *, train, validation, seed, logs, on_epoch):
        torch.manual_seed(int(train.sum()) + seed)
        self.network = self.build(data.inputs, data.n_classes).eval()
        self.network.input.fit(data.statistics(train))
        for weight in self.network.parameters():
            weight.data *= 3
        names = ("train_loss", "validation_loss", "train_ua", "validation_ua")
        return [{"epoch": 1} | dict.fromkeys(names, np.nan)]

    @torch.inference_mode()
    def predict(self, data, clips):
        batch = data.cut(clips, offset=np.zeros_like(clips), frames=data.frames[clips])
        return self.network(batch.features, batch.lengths).double().softmax(dim=1).numpy()

    def state(self):
        return self.network.state_dict()


def recording(speaker, emotion, *, seconds, seed):
    """A tone of the speaker with the emotion's tremor; its second half is 20 dB softer."""
    time_s = np.arange(round(seconds * RATE)) / RATE
    tone = np.sin(2 * np.pi * (200 + 150 * SPEAKERS.index(speaker)) * time_s)
    tremor = 1 + 0.9 * np.sin(2 * np.pi * (3 + 6 * EMOTIONS.index(emotion)) * time_s)
    noise = np.random.default_rng(seed).normal(0, 0.01, len(time_s))
    return 0.2 * (tone * tremor + noise) * np.where(time_s < seconds / 2, 1, 0.1)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """A folder in which the pipeline has run as far as `train`, on recordings and on segments."""
    folder = tmp_path_factory.mktemp("pipeline")
    params = composed(*OVERRIDES)
    OmegaConf.save(params, folder / "params.yaml")
    (folder / "raw").mkdir()
    rows = []
    for seed, (speaker, emotion, seconds) in enumerate(
        (s, e, t) for s in SPEAKERS for e in EMOTIONS for t in (0.4, 1.0, 1.03)
    ):
        name = f"{speaker}-{emotion}-{seed}"
        samples = recording(speaker, emotion, seconds=seconds, seed=seed)
        soundfile.write(folder / "raw" / f"{name}.wav", samples, RATE)
        facts = {"clip": name, "file": f"{name}.wav", "emotion": emotion, "speaker": speaker}
        rows.append(facts)
    settings = params["audio"]
    prepare_corpus(
        rows, corpus="savee", root=folder / "raw", folder=folder / "corpora/savee", **settings
    )
    clips = merge_corpora(
        ["savee"], prepared=folder / "corpora", folder=folder / "data/merged", duplicates="first"
    )
    for name, feature in params["features"].items():
        write_cache(
            folder / f"data/features/{name}.npy",
            feature=bind(feature, "acoustics"),
            clips=clips,
            audio=folder / "data/merged/audio.npy",
            sample_rate=RATE,
        )
    inside(folder, split_stage.main)
    with pytest.MonkeyPatch.context() as patch:
        learner = "stages.learning.jobs.build_learner"
        patch.setattr(
            learner, lambda settings: Untrained(bind(settings["model"]["network"], "networks"))
        )
        inside(folder, train.main)
    return folder


def measure(folder):
    """Run the stage; what it wrote."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(robustness, "processes", lambda _: 1)
        inside(folder, stage.main)
    return read_robustness(folder / "reports/robustness.csv")


@pytest.fixture(scope="module")
def table(pipeline):
    return measure(pipeline)


def recognise(folder, monkeypatch, degradations=None, **changes):
    """Answers of the folder's models, in this process alone."""
    monkeypatch.setattr(robustness, "processes", lambda _: 1)
    params = OmegaConf.to_container(OmegaConf.load(folder / "params.yaml"))
    arguments = {
        "clips": read_clips(folder / "data/merged/clips.csv"),
        "split": read_split(folder / "data/split.csv"),
        "audio": folder / "data/merged/audio.npy",
        "models": folder / "models/folds",
        "seeds": params["seeds"],
    }
    degradations = params["degradations"] if degradations is None else degradations
    return robustness.recognise(degradations, **arguments | changes)


@pytest.mark.slow
def test_the_clean_row_is_the_ua_of_the_predictions_for_segments_too(pipeline, table, monkeypatch):
    predictions = pd.read_csv(pipeline / "data/predictions.csv")
    names = [f"p_{emotion}" for emotion in EMOTIONS]
    predictions["answer"] = np.array(EMOTIONS)[predictions[names].to_numpy().argmax(1)]
    ua = [
        recall_score(of["label"], of["answer"], average="macro")
        for _, of in predictions.groupby("seed")
    ]
    clean = table.iloc[0]
    assert clean["degradation"] == "clean" and np.isnan(clean["level"])
    assert clean["ua"] == pytest.approx(np.mean(ua), abs=1e-6)
    answers = recognise(pipeline, monkeypatch, degradations={})
    got = np.array(EMOTIONS)[answers.predicted[:, 0]]
    wanted = predictions.pivot(index="clip", columns="seed", values="answer")
    assert (got == wanted.loc[answers.clips["clip"]].to_numpy()).all()
    assert all(np.bincount(seed).max() < 55 for seed in answers.predicted[:, 0].T)
    clips = answers.clips["clip"]
    assert 0 < clips.str.contains("+", regex=False).mean() < 1  # segments and whole recordings


@pytest.mark.slow
def test_the_pipelines_own_table(table):
    names = ["clean", "white", "white", "babble", "telephone", "level"]
    assert tuple(table) == COLUMNS and table["degradation"].tolist() == names
    assert table["level"].fillna(99).tolist() == [99, 10, -10, 0, 99, -20]
    assert table["unit"].tolist() == ["", "dB SNR", "dB SNR", "dB SNR", "", "dB peak"]
    assert set(table["n_clips"]) == {60} and set(table["n_speakers"]) == {4}
    assert set(table["interval"]) == {"speakers"} and set(table["protocol"]) == {"loso"}
    assert table.iloc[0][["difference", "difference_low", "difference_high"]].isna().all()
    rest = table.iloc[1:]
    np.testing.assert_allclose(rest["difference"], rest["ua"] - table["ua"][0], atol=2e-6)
    assert (rest["difference_low"] <= rest["difference"]).all()
    assert (rest["difference"] <= rest["difference_high"]).all()


@pytest.mark.slow
def test_every_byte_repeats(pipeline, table):
    before = (pipeline / "reports/robustness.csv").read_bytes()
    measure(pipeline)
    assert (pipeline / "reports/robustness.csv").read_bytes() == before


@pytest.mark.slow
def test_answers_depend_on_no_order_and_no_number_of_tasks(pipeline, monkeypatch):
    chosen = OmegaConf.to_container(OmegaConf.load(pipeline / "params.yaml").degradations)
    split = read_split(pipeline / "data/split.csv").assign(**{fold: "train" for fold in "123"})
    settings = {"split": split, "seeds": [0]}
    want = recognise(pipeline, monkeypatch, **settings)
    monkeypatch.setattr(robustness, "_TASK_S", 4)
    monkeypatch.setattr(robustness, "_BATCH", 1)
    turned = recognise(pipeline, monkeypatch, dict(reversed(chosen.items())), **settings)
    for place, condition in enumerate(want.conditions):
        (same,) = (i for i, c in enumerate(turned.conditions) if c[:3] == condition[:3])
        assert np.array_equal(turned.predicted[:, same], want.predicted[:, place])


@pytest.mark.slow
@pytest.mark.parametrize("clips", [4, "all"])
def test_a_calibrated_network_knows_the_voice_as_in_training(
    pipeline, tmp_path, monkeypatch, clips
):
    """The clean answers are the predictions, which those for the average voice are not."""
    shutil.copytree(pipeline / "data", tmp_path / "data")
    chosen = (*OVERRIDES, "seeds=[0]", "calibration=speaker", f"calibration.clips={clips}")
    OmegaConf.save(composed(*chosen), tmp_path / "params.yaml")
    inside(tmp_path, split_stage.main)
    inside(tmp_path, train.main)
    predictions = pd.read_csv(tmp_path / "data/predictions.csv").set_index("clip")
    wanted = predictions.filter(like="p_").to_numpy().argmax(1)
    answers = recognise(tmp_path, monkeypatch, degradations={})
    assert answers.clips["clip"].tolist() == predictions.index.tolist()
    assert (answers.predicted[:, 0, 0] == wanted).all()
    monkeypatch.setattr(robustness, "_vectors", lambda *_, speakers, **__: Nobody())
    average = recognise(tmp_path, monkeypatch, degradations={})
    assert (average.predicted[:, 0, 0] != wanted).any()


class Nobody:
    """Enrolment without a clip, of any speaker."""

    def __getitem__(self, speaker):
        return pd.DataFrame(columns=range(64))


def fixed_answers(folder, target):
    """The models of a folder, each of which answers the label of the number of its fold."""
    target.mkdir()
    for path in (folder / "models/folds").iterdir():
        checkpoint = torch.load(path, weights_only=True)
        if checkpoint["fold"] != "all":
            bias = checkpoint["state"][next(reversed(checkpoint["state"]))]  # of the last layer
            bias += 1000 * torch.eye(3)[(int(checkpoint["fold"]) + checkpoint["seed"]) % 3]
        torch.save(checkpoint, target / path.name)
    return target


@pytest.mark.slow
def test_a_clip_is_heard_by_the_model_that_never_heard_its_speaker(pipeline, tmp_path, monkeypatch):
    models = fixed_answers(pipeline, tmp_path / "models")
    answers = recognise(pipeline, monkeypatch, models=models)
    folds = answers.clips["fold"].astype(int).to_numpy()
    for seed in (0, 1):
        assert (answers.predicted[:, :, seed] == ((folds + seed) % 3)[:, None]).all()
    split = read_split(pipeline / "data/split.csv").merge(answers.clips[["clip", "speaker"]])
    assert set(folds) == {0, 1, 2, 3}
    for fold, held_out in answers.clips.groupby("fold"):
        trained = split.loc[split[fold] == "train", "speaker"]
        assert len(trained) and not set(trained) & set(held_out["speaker"])


@pytest.mark.slow
def test_a_clip_that_several_folds_test_is_heard_by_each(pipeline, tmp_path, monkeypatch):
    split = read_split(pipeline / "data/split.csv")
    split["1"] = split["1"].where(split["0"] != "test", "test")
    models = fixed_answers(pipeline, tmp_path / "models")
    answers = recognise(pipeline, monkeypatch, degradations={}, split=split, models=models)
    twice = answers.clips["clip"].duplicated(keep=False)
    assert twice.sum() == 30 and len(answers.clips) == 75
    assert answers.predicted[twice, 0].tolist() == [[0, 1], [1, 2]] * 15
    found = tabulated(answers)
    assert found["n_clips"].tolist() == [60]


def tabulated(answers):
    return robustness_table(
        [condition[:3] for condition in answers.conditions],
        clips=answers.clips,
        truth=answers.truth,
        predicted=answers.predicted,
        n_classes=len(answers.labels),
        protocol="loso",
    )


def test_babble_is_of_other_speakers(tmp_path):
    """Each speaker is a tone; none of the clip's own is heard, however long the clip."""
    tones = {f"s{number}": 500.0 * number for number in (1, 2, 3)}
    voices = {}
    with AudioStore(tmp_path / "audio.npy") as store:
        for speaker, frequency in tones.items():
            clips = []
            for seconds in (0.3, 0.7):
                time_s = np.arange(round(seconds * RATE)) / RATE
                clips.append((store.samples, len(time_s)))
                store.append(np.rint(9000 * np.sin(2 * np.pi * frequency * time_s)).astype("i2"))
            voices[speaker] = np.array(clips)
    with AudioReader(tmp_path / "audio.npy") as reader:
        talk = partial(robustness._talk, voices=voices, store=reader)
        speech = talk(5, 2 * RATE, speaker="s2", random=np.random.default_rng(0))
        assert speech.shape == (5, 2 * RATE)
        np.testing.assert_allclose(np.square(speech).mean(axis=1), 1)
        spectrum = np.abs(np.fft.rfft(speech.sum(axis=0)))
        heard = {speaker: spectrum[int(2 * frequency)] for speaker, frequency in tones.items()}
        assert heard["s2"] < 0.02 * min(heard["s1"], heard["s3"])
        assert talk(2, 1, speaker="s1", random=np.random.default_rng(0)).shape == (2, 1)
        with pytest.raises(ValueError, match="got no speaker but s2, want others"):
            talk = partial(talk, voices={"s2": voices["s2"]})
            talk(5, 10, speaker="s2", random=np.random.default_rng(0))


@pytest.mark.parametrize("level", ["rms", "peak", "none"])
def test_segments_get_the_level_that_their_recording_gives_them(level):
    """A recording degraded as a whole and levelled as a whole, and the same segment by segment."""
    loud, soft = speech(RATE), 0.1 * speech(RATE, seed=5)
    recogniser = Recogniser(
        torch.nn.Identity(), features={}, labels=[], sample_rate=RATE, level=level, level_db=-30
    )

    def levelled(waveform):
        return recogniser._levelled(torch.from_numpy(waveform)[None])[0].numpy()

    stored = levelled(np.concatenate([loud, soft]))
    parts = [
        degrade("white", part, snr_db=5, seed=seed) for seed, part in enumerate(np.split(stored, 2))
    ]
    whole = levelled(np.concatenate(parts))
    for part, own, wanted in zip(parts, np.split(stored, 2), np.split(whole, 2), strict=True):
        got = robustness._relevelled(part[None], reference=own, level=level)[0]
        ratio = np.sqrt(np.square(got).mean() / np.square(wanted).mean())
        assert ratio == pytest.approx(1, abs=0.01 if level == "rms" else 0.4)
        np.testing.assert_allclose(got / ratio, wanted, atol=1e-6)


# What is refused -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_model_that_is_no_network_is_named_and_what_to_do(pipeline, tmp_path, monkeypatch):
    params = composed("model=svm")
    checkpoint = {name: params[name] for name in ("audio", "features", "model", "train")}
    checkpoint |= {"labels": ["angry", "sad"], "inputs": {"rms": 1}, "state": {}}
    for fold in range(4):
        for seed in (0, 1):
            torch.save(checkpoint, tmp_path / f"fold_{fold}-seed_{seed}.pt")
    monkeypatch.setattr(robustness, "_predict", None)
    with pytest.raises(ValueError, match=r"holds svm, want a network.*-S 'degradations=\[\]'"):
        recognise(pipeline, monkeypatch, models=tmp_path)


@pytest.mark.slow
def test_missing_models_are_named(pipeline, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"missing: .*fold_0-seed_0.pt, .*fold_3-seed_1.pt"):
        recognise(pipeline, monkeypatch, models=tmp_path)


@pytest.mark.slow
def test_labels_that_the_models_lack_are_named(pipeline, monkeypatch):
    split = read_split(pipeline / "data/split.csv").assign(label="calm")
    with pytest.raises(ValueError, match=r"fold_0-seed_0.pt: got the labels .*, want \['calm'\]"):
        recognise(pipeline, monkeypatch, split=split)


@pytest.mark.slow
def test_a_split_of_other_clips_is_refused(pipeline, monkeypatch):
    clips = read_clips(pipeline / "data/merged/clips.csv")
    with pytest.raises(ValueError, match="split: 1 of its test clips are not in the clip table"):
        recognise(pipeline, monkeypatch, clips=clips.iloc[1:])


@pytest.mark.slow
def test_a_variant_that_is_tested_is_no_segment_of_its_source(pipeline, monkeypatch):
    clips = read_clips(pipeline / "data/merged/clips.csv")
    split = read_split(pipeline / "data/split.csv")
    made, tested = (
        table.assign(clip=table["clip"] + "#noise").assign(**more)
        for table, more in ((clips, {"variant": "noise"}), (split, {}))
    )
    answers = recognise(
        pipeline,
        monkeypatch,
        clips=pd.concat([clips, made]).sort_values("clip", ignore_index=True),
        split=pd.concat([split, tested]).sort_values("clip", ignore_index=True),
    )
    is_variant = answers.clips["clip"].str.endswith("#noise").to_numpy()
    assert is_variant.sum() == len(split) == (~is_variant).sum()
    alone = recognise(pipeline, monkeypatch)
    assert np.array_equal(answers.predicted[~is_variant], alone.predicted)
    assert np.array_equal(answers.predicted[is_variant][:, 0], alone.predicted[:, 0])


@pytest.mark.slow
def test_a_bad_setting_is_named_with_the_clip(pipeline, monkeypatch):
    chosen = {"white": ALL["white"] | {"snr_db": [500]}}
    with pytest.raises(ValueError, match=r"degradations.white: savee/.*: snr_db: got 500, want"):
        recognise(pipeline, monkeypatch, chosen)


@pytest.mark.slow
def test_samples_that_are_lost_are_noticed(pipeline, monkeypatch):
    lost = robustness.Condition("short", None, "", lambda waveform, scene: waveform[1:])
    monkeypatch.setattr(robustness, "list_conditions", lambda _: [*CONDITIONS[:1], lost])
    with pytest.raises(ValueError, match=r"degradations.short: savee/.*: got shape \(6399,\)"):
        recognise(pipeline, monkeypatch)


@pytest.mark.slow
def test_without_a_degradation_there_is_a_header_and_no_torch(tmp_path):
    OmegaConf.save(composed(), tmp_path / "params.yaml")
    program = (
        "import sys; from stages import robustness; robustness.main(); "
        "sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    )
    environment = {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)
    text = (tmp_path / "reports/robustness.csv").read_text()
    assert text == ",".join(COLUMNS) + "\n"
    assert read_robustness(tmp_path / "reports/robustness.csv").empty


def test_another_table_is_refused(tmp_path):
    (tmp_path / "robustness.csv").write_text("degradation,ua\n")
    with pytest.raises(
        ValueError, match=r"robustness.csv: got the columns \['degradation', 'ua'\]"
    ):
        read_robustness(tmp_path / "robustness.csv")


# The figures -----------------------------------------------------------------------------------


def made_up(n=120, seeds=2):
    """Answers of four speakers: clean ones often right, noisy ones less so."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, n)
    shares = (0.9, 0.6, 0.4)
    guessed = random.integers(0, 3, (n, len(shares), seeds))
    right = random.random(guessed.shape) < np.reshape(shares, (-1, 1))
    predicted = np.where(right, truth[:, None, None], guessed)
    clips = pd.DataFrame({"clip": [f"x/{i}" for i in range(n)], "speaker": np.arange(n) % 4})
    return clips, truth, predicted


def test_figures_are_means_over_seeds_with_paired_differences():
    clips, truth, predicted = made_up()
    conditions = [("clean", None, ""), ("white", 10, "dB SNR"), ("white", 0, "dB SNR")]
    table = robustness_table(
        conditions, clips=clips, truth=truth, predicted=predicted, n_classes=3, protocol="loso"
    )
    ua = [
        np.mean([recall_score(truth, predicted[:, c, s], average="macro") for s in (0, 1)])
        for c in range(3)
    ]
    np.testing.assert_allclose(table["ua"], ua, atol=1e-6)
    np.testing.assert_allclose(table["difference"][1:], np.array(ua[1:]) - ua[0], atol=2e-6)
    half = table["difference_high"] - table["difference"]
    left_out = [
        np.mean(
            [
                recall_score(truth[rows], predicted[rows, 1, s], average="macro")
                - recall_score(truth[rows], predicted[rows, 0, s], average="macro")
                for s in (0, 1)
            ]
        )
        for rows in (np.arange(120) % 4 != speaker for speaker in range(4))
    ]
    error = np.sqrt(3 * np.var(left_out))
    assert half[1] == pytest.approx(3.182446 * error, abs=2e-5)


def test_a_panel_for_each_unit_with_its_curves():
    rows = [
        {"degradation": c.degradation, "level": c.level, "unit": c.unit, "ua": 0.5 - 0.01 * i}
        for i, c in enumerate([robustness.Condition("clean", None, "", None), *CONDITIONS])
    ]
    table = pd.DataFrame(rows).assign(
        ua_low=lambda t: t["ua"] - 0.1, ua_high=lambda t: t["ua"] + 0.1
    )
    with drawing.style():
        figure = robustness_figure(table, chance=0.25, notes=["a note"])
        svg = drawing.encode(figure, "svg").decode()
    curves = {
        line.get_label(): line
        for axes in figure.axes
        for line in axes.get_lines()
        if not line.get_label().startswith("_")
    }
    assert set(curves) >= {"white", "pink", "babble", "reverberation", "level"}
    for name in ("white", "level"):
        own = table[table["degradation"] == name]
        np.testing.assert_allclose(curves[name].get_ydata(), own["ua"])
        assert np.abs(curves[name].get_xdata() - own["level"]).max() < 0.02 * np.ptp(own["level"])
    assert sorted(a.get_xlabel() for a in figure.axes) == [
        "",
        "level (dB SNR)",
        "level (dB peak)",
        "level (s T60)",
    ]
    assert "telephone" in svg and "a note" in svg
