"""Training variants: each follows its settings, is repeatable and does not depend on the others."""

import hashlib
import math
import shutil
from functools import cache

import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile

from stages.audio.loudness import gain_to_match, rms_db
from stages.audio.store import FULL_SCALE, open_audio
from stages.clips import variants as making
from stages.clips.clip_table import COLUMNS, read_clips
from stages.clips.merging import merge_corpora
from stages.clips.preparation import prepare_corpus
from stages.clips.variants import Variants
from stages.reporting import drawing
from stages.reporting.sections import clip_fates, corpus_facts, corpus_scores, label_sets
from stages.settings.loading import bind
from tests.support import AUDIO, ROOT, composed, run_of_clips

NAMES = sorted(path.stem for path in (ROOT / "conf" / "variants").glob("*.yaml"))
RATE = 16000


@cache
def chosen():
    """The settings of every option's yaml."""
    return composed(f"variants=[{','.join(NAMES)}]")["variants"]


def change(name, **settings):
    """The function of an option, with its own settings or changed ones."""
    return bind(chosen()[name] | settings, "variants")


def random(seed=0):
    return np.random.default_rng(seed)


def tone(hz=440.0, seconds=1.0):
    return librosa.tone(hz, sr=RATE, duration=seconds).astype(np.float32) / 4


def speech(seconds=1.0):
    """A voiced sound with pauses."""
    gate = 0.5 - 0.5 * np.cos(2 * np.pi * 4 * np.arange(int(RATE * seconds)) / RATE)
    voice = sum(tone(120.0 * k, seconds) / k for k in range(1, 20))
    return (gate * voice / np.abs(voice).max() / 2).astype(np.float32)


def strongest_hz(waveform):
    power = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)), 1 << 18))
    return power.argmax() * RATE / (1 << 18)


# Contract of every option ----------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_variant_is_finite_and_other_samples_and_the_same_again(name):
    source = speech()
    before = source.copy()
    made = change(name)(source, random())
    assert made.dtype == np.float32 and made.ndim == 1 and np.isfinite(made).all()
    assert np.array_equal(source, before)
    assert made.tobytes() == change(name)(source, random()).tobytes()
    other = change(name)(source, random(1))
    for one in (source, other):
        assert len(one) != len(made) or np.abs(one - made).max() > 1e-3
    # The clip is still heard in it: neither silence nor noise alone.
    assert rms_db(made, full_scale=1) == pytest.approx(rms_db(source, full_scale=1), abs=6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("samples", [1, 2, 3, 255, 256, 257, 1000])
def test_a_very_short_clip_is_changed_as_well(name, samples):
    made = change(name)(speech()[4000 : 4000 + samples], random())
    assert 0.5 * samples <= len(made) <= 2 * samples and np.isfinite(made).all()


@pytest.mark.parametrize("name", NAMES)
def test_silence_is_changed_to_something_finite(name):
    made = change(name)(np.zeros(RATE // 2, np.float32), random())
    assert len(made) and np.isfinite(made).all() and np.abs(made).max() < 1e-6


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "wrong", [1, [1], [2, 1], [1, 2, 3], [math.nan, 1], [-1e6, 1], [1, 1e6], [], None]
)
def test_what_is_drawn_from_is_checked(name, wrong):
    (between,) = [key for key, value in chosen()[name].items() if isinstance(value, list)]
    with pytest.raises(ValueError, match=f"{between}: got .*, want two numbers from"):
        change(name, **{between: wrong})(speech(), random())


# What each of them does ------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.5, 0.9, 1.2, 2.0])
def test_stretching_keeps_the_pitch_and_divides_the_length(rate):
    made = change("stretch", rate=[rate, rate])(tone(), random())
    assert len(made) == round(RATE / rate)
    assert strongest_hz(made) == pytest.approx(440, abs=0.5)


def test_stretching_moves_everything_in_time():
    """A burst at a third of the clip is at a third of the result."""
    source = np.zeros(RATE, np.float32)
    source[RATE // 3 : RATE // 3 + 1600] = tone(seconds=0.1)
    made = change("stretch", rate=[0.8, 0.8])(source, random())
    centre = np.average(np.arange(len(made)), weights=made**2)
    assert centre / len(made) == pytest.approx(1 / 3 + 0.05, abs=0.01)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.2, 2.0])
def test_speed_scales_tempo_and_pitch_alike(factor):
    made = change("slow", factor=[factor, factor])(tone(), random())
    assert len(made) == round(RATE / factor)
    assert strongest_hz(made) == pytest.approx(440 * factor, abs=0.5)


@pytest.mark.parametrize("semitones", [-12, -2, 0.5, 2, 12])
def test_pitch_is_shifted_by_the_semitones_and_the_length_kept(semitones):
    made = change("pitch", semitones=[semitones, semitones])(tone(), random())
    assert len(made) == RATE
    assert strongest_hz(made) == pytest.approx(440 * 2 ** (semitones / 12), rel=1e-3)


@pytest.mark.parametrize("snr_db", [-5, 10, 30])
def test_noise_is_white_and_has_the_ratio(snr_db):
    source = speech(4)
    added = change("noise", snr_db=[snr_db, snr_db])(source, random()) - source
    powers = [np.mean(np.square(x, dtype=np.float64)) for x in (source, added)]
    assert 10 * np.log10(powers[0] / powers[1]) == pytest.approx(snr_db, abs=0.01)
    bands = np.array_split(np.abs(np.fft.rfft(added)) ** 2, 8)
    assert np.ptp([10 * np.log10(band.mean()) for band in bands]) < 0.5


@pytest.mark.parametrize("t60_s", [0.2, 0.8])
def test_a_room_sounds_on_and_dies_away_in_its_time(t60_s):
    click = np.zeros(2 * RATE, np.float32)
    click[0] = 0.5
    made = change("room", t60_s=[t60_s, t60_s])(click, random()).astype(float)
    assert made[0] == 0.5
    tail = made[1:]
    assert np.square(tail).sum() == pytest.approx(0.25, rel=1e-3)  # as strong as the direct sound
    # Schroeder's integral: what is left of the energy falls by 60 dB in T60.
    left_db = 10 * np.log10(np.cumsum(np.square(tail[::-1]))[::-1][: int(0.5 * t60_s * RATE)])
    slope = np.polyfit(np.arange(len(left_db)) / RATE, left_db, 1)[0]
    assert -60 / slope == pytest.approx(t60_s, rel=0.06)


def test_the_change_is_drawn_for_each_clip_from_the_whole_range():
    stretch = change("stretch", rate=[0.8, 1.25])
    rates = np.array([RATE / len(stretch(tone(), random(seed))) for seed in range(60)])
    assert rates.min() > 0.799 and rates.max() < 1.251
    assert np.histogram(rates, 4, (0.8, 1.25))[0].min() > 5


# Variants of a corpus --------------------------------------------------------------------------


def sounds():
    rng = random(5)
    return {
        **{f"{i}.wav": speech(0.5 + 0.1 * i) * (0.2 + 0.1 * i) for i in range(5)},
        "click.wav": np.r_[tone(seconds=0.3) / 100, 0.9, tone(seconds=0.3) / 100],
        "twin.wav": speech(0.5) * 0.2,  # the same recording as 0.wav
        "noise.wav": rng.normal(0, 0.1, RATE // 2),
    }


def settings(names=("stretch", "pitch"), *, level="rms", **own):
    changes = {name: change(name, **own.get(name, {})) for name in names}
    return Variants(changes, sample_rate=RATE, hop_length=256, level=level)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A corpus of sounds with one unusable file."""
    return prepare(tmp_path_factory.mktemp("prepared"))


def prepare(folder, **audio):
    for name, samples in sounds().items():
        soundfile.write(folder / name, samples, RATE, subtype="FLOAT")
    (folder / "broken.wav").write_bytes(b"")
    rows = [
        {"clip": path.stem, "file": path.name, "speaker": "1", "emotion": "sad", "sentence": "s"}
        for path in sorted(folder.glob("*.wav"))
    ]
    prepare_corpus(
        rows, corpus="toy", root=folder, folder=folder / "toy", hop_length=256, **AUDIO | audio
    )
    return folder


def merge(prepared, folder, variants, duplicates="first"):
    clips = merge_corpora(
        ["toy"], prepared=prepared, folder=folder, duplicates=duplicates, variants=variants
    )
    pd.testing.assert_frame_equal(read_clips(folder / "clips.csv"), clips[list(COLUMNS)])
    return clips.set_index("clip"), open_audio(folder / "audio.npy")


def samples_of(clip, audio):
    return audio[clip["start"] : clip["start"] + clip["samples"]]


def test_every_usable_clip_has_each_variant_and_keeps_its_own_samples(prepared, tmp_path):
    alone, before = merge(prepared, tmp_path / "alone", None)
    clips, audio = merge(prepared, tmp_path / "both", settings())
    clean, made = (clips[(clips["variant"] == "clean") == own] for own in (True, False))
    pd.testing.assert_frame_equal(clean, alone)
    assert np.array_equal(audio[: len(before)], before)
    usable = clean[clean["excluded"] == ""]
    wanted = {f"{clip}#{name}" for clip in usable.index for name in ("stretch", "pitch")}
    assert set(made.index) == wanted and len(usable) == 7
    assert len(audio) == clips["samples"].sum()
    spans = sorted(zip(made["start"], made["samples"], strict=True))
    assert [start for start, _ in spans] == list(
        len(before) + np.cumsum([0, *(samples for _, samples in spans)])[:-1]
    )
    kept = ["corpus", "file", "speaker", "sex", "age", "language", "emotion", "intensity"]
    kept += ["sentence", "take", "channels", "rate_hz", "level_db", "source", "excluded"]
    kept += ["corpus_fold"]
    for name, row in made.iterrows():
        clip, _, variant = name.partition("#")
        pd.testing.assert_series_equal(row[kept], clean.loc[clip, kept], check_names=False)
        samples = samples_of(row, audio)
        assert row["variant"] == variant and row["source"] == clip
        assert row["sha256"] == hashlib.sha256(samples.astype("<i2")).hexdigest()
        assert row["frames"] == 1 + row["samples"] // 256
        assert row["duration_s"] == round(row["samples"] / RATE, 6)
        assert not np.array_equal(samples, samples_of(clean.loc[clip], audio))
    assert (made.filter(like="#pitch", axis=0)["samples"].to_numpy() == usable["samples"]).all()


@pytest.mark.parametrize("level", ["rms", "peak", "none"])
def test_a_variant_is_as_loud_as_its_source(prepared, tmp_path, level):
    clips, audio = merge(prepared, tmp_path / "out", settings(level=level))
    for name, row in clips[clips["variant"] != "clean"].iterrows():
        made, source = (
            samples_of(clip, audio).astype(float) / FULL_SCALE
            for clip in (row, clips.loc[name.partition("#")[0]])
        )
        assert np.abs(made).max() <= 1
        if level == "rms":
            assert rms_db(made, full_scale=1) == pytest.approx(
                rms_db(source, full_scale=1), abs=0.05
            )
        elif level == "peak":
            assert np.abs(made).max() == pytest.approx(np.abs(source).max(), rel=1e-3)


def test_a_variant_does_not_depend_on_the_others_their_order_or_the_number_of_tasks(
    prepared, tmp_path, monkeypatch
):
    clips, audio = merge(prepared, tmp_path / "one", settings())
    monkeypatch.setattr(making, "_TASK", 1)
    monkeypatch.setattr(making, "processes", lambda _: 3)
    again, other = merge(prepared, tmp_path / "two", settings(("pitch", "stretch")))
    pd.testing.assert_frame_equal(again, clips)
    assert np.array_equal(other, audio)
    assert (tmp_path / "one/audio.npy").read_bytes() == (tmp_path / "two/audio.npy").read_bytes()
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["audio.npy", "clips.csv"]
    alone, lone = merge(prepared, tmp_path / "three", settings(("pitch",)))
    for name, row in alone[alone["variant"] == "pitch"].iterrows():
        assert np.array_equal(samples_of(row, lone), samples_of(clips.loc[name], audio))


def test_variants_of_copies_and_segments_have_the_source_of_their_clip(prepared, tmp_path):
    """Clips that share samples must stay on one side of a split."""
    clips, _ = merge(prepared, tmp_path / "copies", settings(("pitch",)), duplicates="all")
    assert clips.loc["toy/twin#pitch", "source"] == clips.loc["toy/twin", "source"] == "toy/0"
    assert clips.loc["toy/twin#pitch", "sha256"] != clips.loc["toy/0#pitch", "sha256"]
    (tmp_path / "cut").mkdir()
    folder = prepare(tmp_path / "cut", segment_s=0.2)
    clips, audio = merge(folder, tmp_path / "segments", settings(("pitch",)))
    assert clips.loc["toy/4+03#pitch", "source"] == "toy/4+01"
    soft, loud = (clips.loc[f"toy/4+0{number}"] for number in (1, 2))
    levels = [rms_db(samples_of(clip, audio), full_scale=FULL_SCALE) for clip in (soft, loud)]
    assert abs(levels[0] - levels[1]) > 0.3
    for clip, level in zip((soft, loud), levels, strict=True):
        made = samples_of(clips.loc[f"{clip.name}#pitch"], audio)
        assert rms_db(made, full_scale=FULL_SCALE) == pytest.approx(level, abs=0.05)


def described(clips, audio):
    """The page's report on the corpora, its figures, and the fate of each clip."""
    params = composed("data=real", "corpora=[folder]")
    params["corpora"] = {"toy": params["corpora"]["folder"]}
    labels = {"sad": "sad"}
    run = run_of_clips(clips, store=audio, settings=params, label_sets={"one": labels})
    with drawing.style():
        facts = corpus_facts.section(run)
        counts = corpus_scores.emotion_counts(clips, labels=["sad"], label_map=labels)
        drawn = {**facts.figures, "emotions": corpus_scores.emotions_figure(counts, notes=())}
        files = {name: drawing.encode(figure, "svg") for name, figure in drawn.items()}
    predicted = clips.loc[(clips["variant"] == "clean") & (clips["samples"] > 0), "clip"]
    fates = clip_fates.clip_fates(clips, predicted=predicted, label_map=labels)
    return {**facts.words, **label_sets.section(run).words}, files | facts.files, fates


@pytest.mark.slow
def test_no_report_takes_variants_for_recordings(prepared, tmp_path):
    reports = []
    for name, variants in (("without", None), ("with", settings(NAMES))):
        clips, audio = merge(prepared, tmp_path / name, variants)
        reports.append(described(clips.reset_index(), audio))
    (alone, alone_files, alone_fates), (both, both_files, fates) = reports
    for name in ("overview", "labels", "losses"):
        pd.testing.assert_frame_equal(both[name], alone[name])
    assert both_files == alone_files and len(both_files) > 4
    pd.testing.assert_frame_equal(fates[:-1], alone_fates)
    assert fates.iloc[-1].tolist() == [
        "training variants made from them",
        7 * len(NAMES),
        7 * len(NAMES),
    ]


def test_a_bad_setting_is_named_before_anything_is_written(prepared, tmp_path):
    for name, wrong, message in (
        ("stretch", {"rate": [1, 5]}, "variants.stretch: rate: got .1, 5., want two .*0.25 to 4"),
        ("stretch", {"n_fft": 2}, "variants.stretch: n_fft: got 2, want at least 4"),
        ("pitch", {"semitones": [2]}, "variants.pitch: semitones: got .2., want two numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            merge(prepared, tmp_path / "out", settings((name,), **{name: wrong}))
    assert not (tmp_path / "out").exists()


def test_samples_that_cannot_be_used_name_the_variant_and_leave_nothing(prepared, tmp_path):
    for wrong in (np.zeros(0), np.full(9, np.nan), np.zeros((2, 9))):
        broken = Variants({"odd": lambda *_, wrong=wrong: wrong}, RATE, 256, "rms")
        with pytest.raises(ValueError, match=r"toy/0#odd: got samples of shape .*, want at least"):
            merge(prepared, tmp_path / "out", broken)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_called_like_a_variant_is_a_recording_of_its_own(tmp_path):
    for name in ("a.wav", "a#pitch.wav"):
        soundfile.write(tmp_path / name, random(len(name)).normal(0, 0.1, 8000), RATE)
    prepare(tmp_path)
    clips = merge(tmp_path, tmp_path / "out", settings(("pitch",)))[0].reset_index()
    assert clips["clip"].is_unique
    own = clips[clips["file"].isin(["a.wav", "a#pitch.wav"])]
    assert own["variant"].value_counts().to_dict() == {"clean": 2, "pitch": 2}
    assert own["source"].nunique() == 2


def test_what_memory_or_disk_do_not_hold_is_refused(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr("stages.running.resources.free_memory", lambda: 1000)
    with pytest.raises(ValueError, match=r"toy/4#pitch: got 14400 samples, want fewer.* memory"):
        merge(prepared, tmp_path / "out", settings(("pitch",)))
    monkeypatch.undo()
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 0))
    with pytest.raises(ValueError, match=r"out: .* 7 variants .* on disk"):
        merge(prepared, tmp_path / "out", settings(("pitch",)))


def test_gain_of_silence_and_of_what_would_be_clipped():
    silence, loud = np.zeros(9), np.r_[np.ones(5), np.zeros(4)]
    peaky = np.r_[0.9, np.zeros(8)]
    for level in ("rms", "peak", "none"):
        assert gain_to_match(silence, like=loud, level=level) == 1
        assert gain_to_match(loud, like=silence, level=level) == (level == "none")
        assert gain_to_match(peaky, like=loud, level=level) <= 1 / 0.9
    assert gain_to_match(3 * peaky, like=peaky, level="none") == pytest.approx(1 / 2.7)
