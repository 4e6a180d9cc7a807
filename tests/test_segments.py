"""Segments of long recordings: boundaries, names, splits and memory; and other sample rates."""

import itertools
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from app.windows import read_windows
from stages.audio import decoding, sound
from stages.audio import reading as reading
from stages.audio.conditioning import conditioning
from stages.audio.frames import frame_count
from stages.audio.segments import cut
from stages.audio.store import open_audio
from stages.clips.merging import merge_corpora
from stages.clips.names import recording_of
from stages.clips.preparation import prepare_corpus
from stages.protocols import loso, random, speaker
from stages.settings.loading import bind
from stages.splits.assignment import split_clips
from stages.splits.leaks import leakage
from tests.support import AUDIO, ROOT, composed, own_features, read_clip, sample_rate_of

RATE = 16000
MODELS = sorted(path.stem for path in (ROOT / "conf" / "model").glob("*.yaml"))
FEATURES = own_features()


def noise(seconds, *, rate=RATE, channels=1, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, (round(seconds * rate), channels))


def prepare(folder, sounds, corpus="toy", **settings):
    """Prepare a corpus of (name, samples, emotion, speaker) at 16 kHz."""
    root = folder / corpus
    root.mkdir()
    rows = []
    for name, samples, emotion, talker in sounds:
        soundfile.write(root / f"{name}.wav", samples, RATE, subtype="FLOAT")
        rows.append({"clip": name, "file": f"{name}.wav", "emotion": emotion, "speaker": talker})
    settings = AUDIO | {"segment_s": 2} | settings
    target = folder / "prepared" / corpus
    clips = prepare_corpus(
        rows, corpus=corpus, root=root, folder=target, hop_length=256, **settings
    )
    return clips.set_index("clip"), open_audio(target / "audio.npy")


def samples_of(clips, audio, clip):
    row = clips.loc[clip]
    return audio[row["start"] : row["start"] + row["samples"]]


# Boundaries -------------------------------------------------------------------------------


@given(
    samples=st.integers(1, 10_000),
    length=st.integers(2, 2000),
    overlap=st.floats(0, 0.95),
)
def test_segments_hold_every_sample_and_have_one_length_but_for_the_last(samples, length, overlap):
    overlap = int(overlap * length)
    settings = {"sample_rate": 10, "segment_s": length / 10, "segment_overlap_s": overlap / 10}
    pieces = cut(samples, **settings)
    assert pieces[0][0] == 0 and pieces[-1][1] == samples
    for (first, stop), (after, _) in itertools.pairwise(pieces):
        assert (stop - first, stop - after) == (length, overlap)
    last = pieces[-1][1] - pieces[-1][0]
    if len(pieces) > 1:
        assert length / 2 <= last <= 1.5 * length
    else:
        assert last == samples < 1.5 * length
    assert cut(samples, **settings | {"segment_s": None}) == [(0, samples)]


@pytest.mark.parametrize(
    ("seconds", "overlap", "lengths"),
    [
        (2.0, None, None),
        (2.9, None, None),  # the rest joins the only segment
        (3.1, None, [2, 1.1]),
        (6.0, None, [2, 2, 2]),
        (6.9, None, [2, 2, 2.9]),
        (4.2, 0.5, [2, 2.7]),  # a step is 1.5 s, and a third segment would add less than half of it
        (4.3, 0.5, [2, 2, 1.3]),
        (3.4, 1.5, [2, 2, 2, 1.9]),
    ],
)
def test_a_long_file_becomes_several_clips(tmp_path, seconds, overlap, lengths):
    samples = noise(seconds)
    clips, audio = prepare(
        tmp_path, [("a", samples, "sad", "1")], segment_overlap_s=overlap, level="none"
    )
    whole, _ = prepare(tmp_path, [("a", samples, "sad", "1")], corpus="whole", segment_s=None)
    expected = np.rint(samples[:, 0].astype(np.float32) * np.float32(32767)).astype(np.int16)
    if lengths is None:
        assert list(clips.index) == ["toy/a"]
        assert clips.loc["toy/a", "sha256"] == whole.loc["whole/a", "sha256"]
        assert np.array_equal(samples_of(clips, audio, "toy/a"), expected)
        return
    assert list(clips.index) == [f"toy/a+{i:02}" for i in range(1, len(lengths) + 1)]
    assert set(clips["source"]) == {"toy/a+01"} and set(clips["variant"]) == {"clean"}
    assert set(clips["file"]) == {"a.wav"} and (clips["excluded"] == "").all()
    np.testing.assert_allclose(clips["duration_s"], lengths)
    assert (clips["samples"] == np.rint(RATE * np.array(lengths))).all()
    assert (clips["frames"] == 1 + clips["samples"] // 256).all()
    assert clips["sha256"].is_unique and len(audio) == clips["samples"].sum()
    first = 0
    for clip, length in zip(clips.index, lengths, strict=True):
        stop = first + round(length * RATE)
        assert np.array_equal(samples_of(clips, audio, clip), expected[first:stop])
        first = stop - round((overlap or 0) * RATE)


def test_names_of_many_segments_are_in_order(tmp_path):
    sounds = [("a", noise(21), "sad", "1"), ("b", noise(2, seed=1), "sad", "1")]
    clips, _ = prepare(tmp_path, sounds, segment_s=0.2)
    names = [clip for clip in clips.index if clip != "toy/b"]
    assert (
        names
        == sorted(names)
        == [f"toy/a+{i:03}" for i in range(1, 106)] + [f"toy/b+{i:02}" for i in range(1, 11)]
    )
    assert (clips.loc[names[:105], "start"].diff().dropna() > 0).all()


def test_ends_are_trimmed_first_and_segments_share_the_gain_of_their_file(tmp_path):
    """A soft half next to a loud one stays soft, and quiet ends make no segment."""
    loud, soft, end = noise(4), 0.1 * noise(4, seed=1), 1e-4 * noise(6, seed=2)
    sounds = [("a", np.concatenate([end, loud, soft, end]), "sad", "1")]
    clips, audio = prepare(tmp_path, sounds, trim_db=40)
    assert len(clips) == 4 and clips["samples"].sum() == pytest.approx(8 * RATE, abs=640)
    level = [20 * np.log10(np.std(samples_of(clips, audio, c)) / 32767) for c in clips.index]
    assert np.mean(level[:2]) - np.mean(level[2:]) == pytest.approx(20, abs=0.2)
    assert 20 * np.log10(np.std(audio) / 32767) == pytest.approx(-30, abs=0.1)


def test_a_silent_segment_keeps_its_row_with_the_reason(tmp_path):
    samples = np.concatenate([noise(2), np.zeros((2, 1)).repeat(RATE, axis=0), noise(2, seed=1)])
    samples[2 * RATE + 100] = 0.0005
    clips, audio = prepare(tmp_path, [("a", samples, "sad", "1")])
    assert clips["excluded"].tolist() == ["", "silent: peak 0.0005, want over 0.001", ""]
    assert clips.loc["toy/a+02", ["samples", "frames"]].tolist() == [0, 0]
    assert clips.loc["toy/a+02", "duration_s"] == 2 and len(audio) == 4 * RATE
    assert set(clips["source"]) == {"toy/a+01"}


def test_a_silent_first_segment_is_still_the_source(tmp_path):
    sounds = [("a", np.concatenate([np.zeros((2 * RATE, 1)), noise(4)]), "sad", "1")]
    clips, _ = prepare(tmp_path, sounds)
    assert clips.loc["toy/a+01", "excluded"].startswith("silent")
    merged = merge_corpora(
        ["toy"], prepared=tmp_path / "prepared", folder=tmp_path / "out", duplicates="first"
    )
    assert set(merged["source"]) == {"toy/a+01"}


@pytest.mark.parametrize("duplicates", ["first", "all"])
def test_duplicate_segments_are_found_in_files_of_different_levels(tmp_path, duplicates):
    """The second file begins like the first one and ends with something louder."""
    shared = noise(4)
    sounds = [
        ("a", np.concatenate([shared, noise(2, seed=1)]), "sad", "1"),
        ("b", np.concatenate([shared, 3 * noise(2, seed=2)]), "sad", "1"),
        ("c", noise(2, seed=3), "sad", "1"),
    ]
    prepare(tmp_path, sounds)
    clips = merge_corpora(
        ["toy"], prepared=tmp_path / "prepared", folder=tmp_path / "out", duplicates=duplicates
    ).set_index("clip")
    reason = "same recording as: toy/a+0{} (sad)" if duplicates == "first" else ""
    assert clips.loc["toy/b+01", "excluded"] == reason.format(1)
    assert clips.loc["toy/b+02", "excluded"] == reason.format(2)
    assert (clips.loc[["toy/a+01", "toy/a+03", "toy/b+03", "toy/c"], "excluded"] == "").all()
    assert clips["source"].tolist() == ["toy/a+01"] * 6 + ["toy/c"]


def test_files_named_like_a_segment_or_a_variant_stay_recordings_of_their_own(tmp_path):
    names = ("a", "a+02", "a#noise", "a%2B02")
    sounds = [(name, noise(4, seed=n), "sad", "1") for n, name in enumerate(names)]
    clips, _ = prepare(tmp_path, sounds, segment_s=2)
    assert clips.reset_index().groupby("file")["clip"].agg(list).to_dict() == {
        "a.wav": ["toy/a+01", "toy/a+02"],
        "a+02.wav": ["toy/a%2B02+01", "toy/a%2B02+02"],
        "a#noise.wav": ["toy/a%23noise+01", "toy/a%23noise+02"],
        "a%2B02.wav": ["toy/a%252B02+01", "toy/a%252B02+02"],
    }
    recordings = {recording_of(f"{clip}#noise") for clip in clips.index}
    assert recordings == {"toy/a", "toy/a%2B02", "toy/a%23noise", "toy/a%252B02"}


def test_a_copy_of_a_long_file_keeps_one_row(tmp_path):
    rows = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "x.wav", noise(4), RATE)
        rows.append({"clip": "x", "file": f"{folder}/x.wav", "emotion": "sad", "speaker": "1"})
    settings = AUDIO | {"hop_length": 256, "segment_s": 2}
    clips = prepare_corpus(
        rows, corpus="toy", root=tmp_path, folder=tmp_path / "out", **settings
    ).set_index("clip")
    reasons = clips["excluded"].to_dict()
    copy = reasons.pop("toy/b/x.wav")
    assert copy.startswith(("second copy: ", "name taken: ")) and "a/x.wav" in copy
    assert reasons == {"toy/x+01": "", "toy/x+02": ""}
    assert clips["source"].tolist() == ["toy/b/x.wav", "toy/x+01", "toy/x+01"]


# Splits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "dependent"),
    [
        (partial(speaker.assign, folds=3, seed=0), False),
        (loso.assign, False),
        (partial(random.assign, folds=3, seed=0), True),
    ],
    ids=["speaker", "loso", "random"],
)
def test_segments_of_a_file_are_on_one_side_of_every_split(tmp_path, protocol, dependent):
    sounds = [
        (f"{talker}-{emotion}-{take}", noise(1 + take, seed=seed), emotion, talker)
        for seed, (talker, emotion, take) in enumerate(product("012", ("angry", "sad"), (1, 3, 5)))
    ]
    clips, _ = prepare(tmp_path, sounds, segment_s=0.5, segment_overlap_s=0.2)
    clips = clips.reset_index().assign(label=lambda table: table["emotion"])
    assert len(clips) > 5 * len(sounds)
    rules = {"speaker_dependent": dependent, "sentences_held_out": False}
    split = split_clips(clips, protocol=protocol, validation=0.2, **rules)
    sides = split.merge(clips[["clip", "source"]], on="clip").groupby("source")
    for fold in split.columns.difference(["clip", "label"]):
        assert (sides[fold].nunique() == 1).all(), fold
    report = leakage(clips, split, **rules)
    assert all(entry["shared_sources"] == entry["shared_sha256"] == 0 for entry in report)


# Memory ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    for seconds in (60, 240):
        block = noise(10, rate=44100, channels=2)
        with soundfile.SoundFile(folder / f"{seconds}.wav", "w", 44100, 2) as file:
            for _ in range(seconds // 10):
                file.write(block)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("segment_s", [None, 5])
def test_memory_does_not_grow_with_the_length_of_a_file(long_files, segment_s, monkeypatch):
    monkeypatch.setattr(decoding, "_BLOCK", 1 << 17)
    monkeypatch.setattr(sound, "_BLOCK", 1 << 16)
    monkeypatch.setattr(sound, "_IN_MEMORY", 1 << 18)
    peaks = []
    for seconds in (60, 240):
        written = []
        settings = AUDIO | {"segment_s": segment_s, "trim_db": 40}
        tracemalloc.start()
        try:
            facts = reading.read_file(
                long_files / f"{seconds}.wav",
                write=lambda samples, written=written: written.append(len(samples)),
                folder=long_files,
                **settings,
            )
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert not facts["excluded"] and sum(written) == seconds * RATE
    assert peaks[0] > 5e5  # tracemalloc sees the memory of numpy
    assert peaks[1] < 1.1 * peaks[0]
    assert {path.name for path in long_files.iterdir()} == {"60.wav", "240.wav"}


@pytest.mark.parametrize("block", [1000, 1 << 18])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_recordings_held_on_disk_give_the_same_samples(tmp_path, rate, block, monkeypatch):
    samples = np.concatenate([1e-4 * noise(0.4, rate=rate), noise(1.3, rate=rate, channels=1)])
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, rate, subtype="FLOAT")
    settings = AUDIO | {"trim_db": 40, "segment_s": 0.5, "segment_overlap_s": 0.1}
    facts, expected = read_clip(path, **settings)
    monkeypatch.setattr(decoding, "_BLOCK", block)
    monkeypatch.setattr(sound, "_BLOCK", block)
    monkeypatch.setattr(sound, "_IN_MEMORY", 100)
    again, got = read_clip(path, **settings)
    assert facts == again and np.array_equal(got, expected)
    assert len(facts["segments"]) == 3


def test_resampling_a_file_does_not_depend_on_other_files(tmp_path, monkeypatch):
    paths = [tmp_path / f"{name}.wav" for name in "abc"]
    for seed, path in enumerate(paths):
        samples = noise(1, rate=44100, seed=seed)
        if seed == 1:
            samples[-1] = np.nan  # so that reading stops before its end
        soundfile.write(path, samples, 44100, subtype="FLOAT")
    monkeypatch.setattr(decoding, "_BLOCK", 10_000)
    with ThreadPoolExecutor(1) as fresh:
        _, expected = fresh.submit(partial(read_clip, paths[2], **AUDIO)).result()
    read_clip(paths[0], **AUDIO)
    with pytest.raises(ValueError, match="not finite"):
        read_clip(paths[1], **AUDIO)
    assert np.array_equal(read_clip(paths[2], **AUDIO)[1], expected)
    heard = conditioning(AUDIO | {"level": "none"})
    alone = list(read_windows(paths[2], window_s=0.1, **heard))
    other = read_windows(paths[0], window_s=0.1, **heard)
    for window in read_windows(paths[2], window_s=0.1, **heard):
        assert np.array_equal(window.samples, alone.pop(0).samples)
        assert len(next(other).samples)
    assert not alone


def test_a_full_disk_stops_the_stage_and_excludes_no_file(tmp_path, monkeypatch):
    def full(self, samples):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reading.AudioStore, "append", full)
    with pytest.raises(ValueError, match="toy: the disk became full.*No space left"):
        prepare(tmp_path, [("a", noise(5), "sad", "1")])
    assert not list((tmp_path / "prepared").iterdir())


# Sample rates --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", FEATURES)
def test_every_feature_keeps_the_frame_clock_at_22_khz(name):
    params = composed("audio=speech22k", f"features=[{name}]")
    settings = params["features"][name]
    assert settings["sample_rate"] == 22050
    feature = bind(settings, "acoustics")
    if (rate := sample_rate_of(name)) not in (None, 22050):
        with pytest.raises(ValueError, match=f"^sample_rate: got 22050, want {rate} "):
            feature(torch.zeros(22050))
        return
    for samples in (1, 353, 22050, 30000):
        values = feature(torch.from_numpy(noise(2, rate=22050)[:samples, 0]).float())
        assert values.shape[1] == frame_count(samples, hop_length=353)
        assert values.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_model_runs_at_22_khz(name):
    """All but those with a feature that takes one other rate."""
    params = composed("audio=speech22k", f"model={name}")
    build = bind(params["model"]["network"], "networks")
    waveform = torch.from_numpy(noise(1, rate=22050).T.copy()).float()
    features = {}
    for key, settings in params["features"].items():
        feature = bind(settings, "acoustics")
        if sample_rate_of(key):
            with pytest.raises(ValueError, match="^sample_rate: got 22050, want "):
                feature(waveform)
            return
        features[key] = feature(waveform).transpose(1, 2)
    frames = 1 + 22050 // 353
    assert {values.shape[:2] for values in features.values()} == {(1, frames)}
    if issubclass(build.func, nn.Module):  # others read functionals, of any number of frames
        network = build({key: values.shape[2] for key, values in features.items()}, 4).eval()
        assert network(features, torch.tensor([frames])).isfinite().all()
