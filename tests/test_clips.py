"""From files to clip table and audio store: every file has a row, with the reason if excluded."""

import hashlib
import inspect
import re

import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from noisereduce import reduce_noise

from stages.audio import sound
from stages.audio.conditioning import conditioning, segmenting
from stages.audio.store import FULL_SCALE, AudioReader, AudioStore, open_audio
from stages.clips.clip_table import COLUMNS, check_clips, read_clips, write_clips
from stages.clips.merging import merge_corpora, settle_duplicates
from stages.clips.preparation import prepare_corpus
from stages.running.outputs import complete
from tests.support import AUDIO, ROOT, composed, conditioned, read_clip


def noise(seconds=0.5, rate=16000, seed=0, channels=1):
    return np.random.default_rng(seed).normal(0, 0.1, (int(seconds * rate), channels))


def row(name, *, emotion="sad", speaker="1", excluded="", clip=None):
    stem = name.rpartition(".")[0]
    return {
        "clip": clip or stem,
        "file": name,
        "speaker": speaker,
        "emotion": emotion,
        "excluded": excluded,
    }


def prepare(rows, root, folder, corpus="toy", **settings):
    return prepare_corpus(
        rows,
        corpus=corpus,
        root=root,
        folder=folder,
        **{"hop_length": 256} | AUDIO | settings,
    ).set_index("file")


BAD_FILES = {
    "empty.wav": (lambda wav: b"", "cannot be decoded"),
    "headeronly.wav": (lambda wav: wav[:44], "truncated"),
    "truncated.wav": (lambda wav: wav[:8000], "truncated: 7956 bytes"),
    "zerofilled.wav": (lambda wav: bytes(len(wav)), "cannot be decoded"),
    "silent.wav": (lambda wav: wav[:44] + bytes(len(wav) - 44), "silent: peak 0.0000, want over"),
    "text.wav": (lambda wav: b"dear diary", "cannot be decoded"),
    "pointer.wav": (
        lambda wav: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
        "Git LFS pointer",
    ),
}


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    root = tmp_path_factory.mktemp("bad")
    soundfile.write(root / "good.wav", noise(), 16000)
    wav = (root / "good.wav").read_bytes()
    for name, (make, _) in BAD_FILES.items():
        (root / name).write_bytes(make(wav))
    broken = noise()
    broken[100] = np.nan
    soundfile.write(root / "nan.wav", broken, 16000, subtype="FLOAT")
    soundfile.write(root / "short.wav", noise(0.05), 16000)
    soundfile.write(root / "stereo.wav", noise(channels=2), 16000)
    rows = [row(path.name) for path in root.iterdir()] + [row("gone.wav")]
    rows.append({"clip": "odd", "file": "odd.wav", "excluded": "name does not parse: got odd"})
    return prepare(rows, root, root / "out"), root / "out"


@pytest.mark.parametrize(
    ("name", "reason"),
    [(name, reason) for name, (_, reason) in BAD_FILES.items()]
    + [
        ("nan.wav", "not finite: 1 samples"),
        ("short.wav", "too short: 0.050 s, want at least 0.1 s"),
        ("gone.wav", "cannot be read: No such file or directory"),
        ("odd.wav", "name does not parse"),
    ],
)
def test_bad_file_keeps_its_row_with_the_reason(bad, name, reason):
    clips, _ = bad
    assert reason in clips.loc[name, "excluded"]
    assert clips.loc[name, "samples"] == clips.loc[name, "frames"] == 0


def test_good_files_among_bad_ones_are_used(bad):
    clips, folder = bad
    usable = clips[clips["excluded"] == ""]
    assert set(usable.index) == {"good.wav", "stereo.wav"}
    assert usable.loc["stereo.wav", "channels"] == 2
    assert (usable["samples"] == 8000).all() and (usable["frames"] == 1 + 8000 // 256).all()
    audio = open_audio(folder / "audio.npy")
    assert len(audio) == usable["samples"].sum()
    pd.testing.assert_frame_equal(
        read_clips(folder / "clips.csv"), clips.reset_index()[list(COLUMNS)]
    )


def test_counts_by_reason_are_printed(bad, caplog, tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(), 16000)
    soundfile.write(tmp_path / "b.wav", noise(0.05), 16000)
    soundfile.write(tmp_path / "c.wav", noise(0.06), 16000)
    with caplog.at_level("INFO"):
        prepare([row(f"{name}.wav") for name in "abc"], tmp_path, tmp_path / "out")
    assert re.search(r"toy: 2 excluded, too short: 0.050 s.*\(b.wav\)", caplog.text)
    assert "toy: 1 clips of 1 speakers" in caplog.text


def test_corpus_without_a_usable_clip_is_an_error_and_writes_nothing(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(
        ValueError, match="toy: no usable clip among 1 files.*1 x cannot be decoded"
    ):
        prepare([row("a.wav")], tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"a.wav"}


def test_second_copy_of_a_name_is_excluded_and_names_the_first(tmp_path):
    for folder in ("A", "b/A"):
        (tmp_path / folder).mkdir(parents=True)
        soundfile.write(tmp_path / folder / "x.wav", noise(), 16000)
    clips = prepare(
        [row("A/x.wav", clip="x"), row("b/A/x.wav", clip="x")], tmp_path, tmp_path / "out"
    )
    assert clips.loc["A/x.wav", "excluded"] == ""
    assert clips.loc["b/A/x.wav", "excluded"] == "second copy: of A/x.wav, the same bytes"


def test_a_copy_replaces_a_broken_file_and_a_lossless_copy_a_lossy_one(tmp_path):
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "x.wav", noise(), 16000)
    (tmp_path / "a" / "x.wav").write_bytes(b"broken")
    soundfile.write(tmp_path / "a" / "y.mp3", noise(seed=1), 16000)
    soundfile.write(tmp_path / "c" / "y.wav", noise(seed=1), 16000)
    (tmp_path / "b" / "z.wav").write_bytes(b"")
    (tmp_path / "c" / "z.wav").write_bytes(b"")
    names = ["a/x.wav", "b/x.wav", "c/x.wav", "a/y.mp3", "c/y.wav", "b/z.wav", "c/z.wav"]
    rows = [row(name, clip=name[2]) for name in names]
    clips = prepare(rows, tmp_path, tmp_path / "out")
    assert clips["clip"].to_dict() == {
        "a/x.wav": "toy/a/x.wav",
        "b/x.wav": "toy/x",
        "c/x.wav": "toy/c/x.wav",
        "a/y.mp3": "toy/a/y.mp3",
        "c/y.wav": "toy/y",
        "b/z.wav": "toy/z",
        "c/z.wav": "toy/c/z.wav",
    }
    assert clips.loc["a/x.wav", "excluded"].startswith("cannot be decoded")
    assert re.match("second copy: of b/x.wav", clips.loc["c/x.wav", "excluded"])
    assert re.match("name taken: by c/y.wav", clips.loc["a/y.mp3", "excluded"])
    assert set(clips.index[clips["excluded"] == ""]) == {"b/x.wav", "c/y.wav"}
    audio = open_audio(tmp_path / "out" / "audio.npy")
    assert len(audio) == clips["samples"].sum()


def test_results_do_not_depend_on_the_number_of_processes(tmp_path, monkeypatch):
    names = [f"{i:03}.wav" for i in range(70)]
    for i, name in enumerate(names):
        soundfile.write(tmp_path / name, noise(0.2 + i / 500, seed=i), 16000)
    for count in (1, 2):
        monkeypatch.setattr("stages.clips.preparation.processes", lambda jobs, count=count: count)
        prepare([row(name) for name in names], tmp_path, tmp_path / f"out{count}")
    for file in ("clips.csv", "audio.npy"):
        one, two = ((tmp_path / f"out{count}" / file).read_bytes() for count in (1, 2))
        assert one == two


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "aiff", "mp3"])
def test_formats_are_recognised_by_content(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, noise(1), 16000)
    path = path.rename(tmp_path / "renamed.wav")
    facts, samples = read_clip(path, **AUDIO)
    assert facts["rate_hz"] == 16000
    assert abs(len(samples) - 16000) <= 2400  # mp3 pads to whole frames


@pytest.mark.parametrize(
    "suffix", ["wav", "aiff", "flac", "caf", "ogg", "opus", "mp3", "au", "w64", "rf64"]
)
def test_half_a_file_is_refused(tmp_path, suffix):
    kind = {"format": "OGG", "subtype": "OPUS"} if suffix == "opus" else {}
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, noise(3), 48000, **kind)
    assert len(read_clip(path, **AUDIO)[1])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="truncated|cannot be decoded"):
        read_clip(path, **AUDIO)


def test_equal_samples_in_two_lossless_formats_have_one_digest(tmp_path):
    samples = np.rint(noise() * FULL_SCALE).astype(np.int16)
    for suffix in ("wav", "flac"):
        soundfile.write(tmp_path / f"a.{suffix}", samples, 16000)
    (wav, _), (flac, _) = (read_clip(tmp_path / f"a.{s}", **AUDIO) for s in ("wav", "flac"))
    assert wav["sha256"] == flac["sha256"]
    expected = hashlib.sha256((samples / 2**15).astype("<f4").tobytes())
    assert wav["sha256"] == expected.hexdigest()


@pytest.mark.parametrize("rate", [8000, 16000, 24414, 44100, 48000, 96000, 192000])
def test_resampling_keeps_the_frequency_of_a_tone(rate):
    time = np.arange(rate) / rate
    tone = np.sin(2 * np.pi * 440 * time)[:, None].astype(np.float32)
    samples = conditioned(tone, rate, **AUDIO)
    assert abs(len(samples) - 16000) <= 1
    assert np.argmax(np.abs(np.fft.rfft(samples, 16000))) == 440


@given(gain=st.floats(0.02, 0.9))
def test_level_does_not_depend_on_the_gain_of_the_recording(gain):
    samples = conditioned((noise() * gain).astype(np.float32), 16000, **AUDIO)
    level = 20 * np.log10(np.sqrt(np.mean((samples / FULL_SCALE) ** 2)))
    assert level == pytest.approx(-30, abs=0.01)


def test_setting_the_level_does_not_clip_a_peak():
    click = np.full((16000, 1), 0.002, np.float32)
    click[8000] = 1
    samples = conditioned(click, 16000, **AUDIO | {"level_db": -10})
    assert samples.max() == FULL_SCALE and (samples == FULL_SCALE).sum() == 1


def test_channels_are_mixed_not_concatenated():
    tone = np.sin(np.arange(8000) / 9)
    left_right = np.stack([0.5 * tone, 0.3 * tone], axis=1).astype(np.float32)
    samples = conditioned(left_right, 16000, **AUDIO | {"level": "none"})
    assert len(samples) == 8000
    assert np.abs(samples / FULL_SCALE - 0.4 * tone).max() < 1e-4


def test_level_settings():
    quiet = noise(seed=1)
    peak = conditioned(quiet, 16000, **AUDIO | {"level": "peak", "level_db": -6})
    assert np.abs(peak).max() / FULL_SCALE == pytest.approx(10 ** (-6 / 20), abs=1e-3)


def quiet_ends(before=0.7, after=0.4, rate=16000, ratio_db=50):
    """Half a second of noise between two stretches of much weaker noise."""
    gain = np.full(int((before + 0.5 + after) * rate), 10 ** (-ratio_db / 20))
    gain[int(before * rate) : int((before + 0.5) * rate)] = 1
    samples = noise(seconds=len(gain) / rate, rate=rate) * gain[:, None]
    return samples.astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_only_quiet_ends_are_cut(rate):
    settings = AUDIO | {"level": "none"}
    clip = quiet_ends(rate=rate)
    whole, trimmed = (conditioned(clip, rate, **settings | {"trim_db": db}) for db in (None, 40))
    assert 8000 <= len(trimmed) <= 8000 + 2 * 320 < len(whole)
    windows = np.lib.stride_tricks.sliding_window_view(whole, len(trimmed))
    (start,) = np.flatnonzero((windows == trimmed).all(axis=1))
    assert 11200 - 320 <= start <= 11200
    assert len(conditioned(clip, rate, **settings | {"trim_db": 60})) == len(whole)
    pause = np.concatenate([clip, clip])
    assert len(conditioned(pause, rate, **settings | {"trim_db": 40})) >= 8000 + 17600


@pytest.mark.slow
def test_trimming_equals_librosa():
    """With the same adjacent frames of 20 ms."""
    clip = quiet_ends()
    _, (first, last) = librosa.effects.trim(
        np.pad(clip[:, 0], (160, 0)), top_db=40, frame_length=320, hop_length=320
    )
    got = conditioned(clip, 16000, **AUDIO | {"trim_db": 40})
    assert len(got) == last - first


def test_the_level_is_set_after_trimming():
    for ratio_db in (45, 80):
        samples = conditioned(quiet_ends(ratio_db=ratio_db), 16000, **AUDIO | {"trim_db": 40})
        level = 20 * np.log10(np.sqrt(np.mean((samples / FULL_SCALE) ** 2)))
        assert level == pytest.approx(-30, abs=0.01)


def test_a_click_in_silence_is_too_short():
    click = np.zeros((16000, 1), np.float32)
    click[8000:8010] = 0.5
    with pytest.raises(ValueError, match="too short .*: 0.020 s, want at least 0.1"):
        conditioned(click, 16000, **AUDIO | {"trim_db": 40})


# Denoising -------------------------------------------------------------------------------------


def test_denoising_softens_the_pauses_more_than_the_voice():
    """Gliding voiced syllables of a quarter of a second in steady noise."""
    time = np.arange(4 * 16000) / 16000
    phase = 2 * np.pi * (150 * time + 30 * np.sin(2 * np.pi * 1.3 * time))
    spoken = time % 1 < 0.25
    clip = 0.05 * spoken * sum(np.sin(k * phase) for k in range(1, 12)) + 0.02 * noise(4)[:, 0]
    power = []
    for denoise in (None, 0.5, 1.0):
        samples = conditioned(clip, 16000, **AUDIO | {"level": "none", "denoise": denoise})
        power.append([10 * np.log10(np.mean(samples[part] ** 2.0)) for part in (spoken, ~spoken)])
    voice, pause = np.diff(power, axis=0).T
    assert (pause < -4).all() and (pause < voice - 3).all()


@pytest.mark.parametrize("samples", [200, 5900, 6000, 6001, 8900, 9001, 14000])
def test_denoising_equals_the_library_over_the_whole_recording(samples, monkeypatch):
    """For any blocks and any number of chunks, which this test makes shorter than 37.5 s."""
    library = inspect.signature(reduce_noise).parameters
    assert library["chunk_size"].default == sound._CHUNK
    assert library["padding"].default == sound._MARGIN
    monkeypatch.setattr(sound, "_CHUNK", 6000)
    monkeypatch.setattr(sound, "_MARGIN", 3000)
    clip = (noise(1)[:samples, 0] * np.linspace(0.1, 1, samples)).astype(np.float32)
    blocks = np.array_split(clip, 7)
    got = np.concatenate(list(sound.denoised(blocks, sample_rate=16000, denoise=0.7)))
    settings = {"prop_decrease": 0.7, "chunk_size": 6000, "padding": 3000}
    assert np.array_equal(got, reduce_noise(y=clip, sr=16000, **settings))


def test_denoising_digital_silence_stays_finite():
    clip = np.concatenate([noise(1)[:, 0], np.zeros(80 * 16000)]).astype(np.float32)
    got = np.concatenate(list(sound.denoised([clip], sample_rate=16000, denoise=1.0)))
    assert len(got) == len(clip) and np.isfinite(got).all()
    with pytest.raises(ValueError, match="silent: peak 0.0000"):
        conditioned(np.zeros(16000), 16000, **AUDIO | {"denoise": 0.5})


# Settings --------------------------------------------------------------------------------------

BAD_SETTINGS = [
    ("sample_rate", 0, "a whole number over 0"),
    ("sample_rate", -16000, "a whole number over 0"),
    ("sample_rate", 22050.5, "a whole number over 0"),
    ("denoise", -0.1, "0 to 1, or null"),
    ("denoise", 1.5, "0 to 1, or null"),
    ("denoise", "strong", "0 to 1, or null"),
    ("denoise", True, "0 to 1, or null"),
    ("trim_db", 0, "over 0, or null"),
    ("trim_db", -3, "over 0, or null"),
    ("trim_db", float("nan"), "over 0, or null"),
    ("level", "loud", "rms, peak or none"),
    ("level", None, "rms, peak or none"),
    ("level_db", 3, "-60 to 0"),
    ("level_db", -300, "-60 to 0"),
    ("level_db", float("-inf"), "-60 to 0"),
    ("min_duration_s", -1, "at least 0"),
    ("min_duration_s", None, "at least 0"),
    ("min_peak", -0.1, "at least 0 and less than 1"),
    ("min_peak", 1, "at least 0 and less than 1"),
    ("segment_s", 0, "over 0 and at least 0.2 (twice min_duration_s), or null"),
    ("segment_s", -5, "over 0 and at least 0.2 (twice min_duration_s), or null"),
    ("segment_s", 0.15, "over 0 and at least 0.2 (twice min_duration_s), or null"),
    ("segment_s", float("inf"), "over 0 and at least 0.2 (twice min_duration_s), or null"),
    ("segment_overlap_s", 0.5, "null, as segment_s is null"),
]


@pytest.mark.parametrize(("name", "value", "wanted"), BAD_SETTINGS)
def test_settings_are_refused_before_anything_is_read(tmp_path, name, value, wanted):
    with pytest.raises(ValueError) as refusal:
        prepare([row("gone.wav")], tmp_path, tmp_path / "out", **{name: value})
    assert str(refusal.value) == f"audio.{name}: got {value!r}, want {wanted}"
    assert not list(tmp_path.iterdir())


def test_a_bad_hop_length_is_refused_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("stages.clips.preparation.read_files", None)
    with pytest.raises(ValueError, match="hop_length: got 0, want at least 1"):
        prepare([row("gone.wav")], tmp_path, tmp_path / "out", hop_length=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("overlap", [1, 1.5, -0.1, 0.99999, "half"])
def test_an_overlap_must_be_shorter_than_the_segments(tmp_path, overlap):
    settings = {"segment_s": 1, "segment_overlap_s": overlap}
    with pytest.raises(ValueError) as refusal:
        prepare([row("gone.wav")], tmp_path, tmp_path / "out", **settings)
    wanted = "want at least 0 and less than 1 (segment_s), or null"
    assert str(refusal.value) == f"audio.segment_overlap_s: got {overlap!r}, {wanted}"


def test_a_setting_that_is_missing_is_named():
    for name in AUDIO:
        others = {key: value for key, value in AUDIO.items() if key != name}
        with pytest.raises(ValueError, match=f"audio.{name}: got nothing, want "):
            (segmenting if name.startswith("segment") else conditioning)(others)


@pytest.mark.parametrize("audio", sorted(p.stem for p in (ROOT / "conf" / "audio").glob("*.yaml")))
def test_every_audio_option_has_a_hop_of_16_ms_and_windows_of_two_hops(audio):
    settings = composed(f"audio={audio}")["audio"]
    assert conditioning(settings) and segmenting(settings)
    rate, hop = settings["sample_rate"], settings["hop_length"]
    assert hop / rate == pytest.approx(0.016, rel=1e-3)
    assert settings["win_length"] == 2 * hop <= settings["n_fft"]


# The store and the table -----------------------------------------------------------------------


@given(st.lists(arrays.arrays(np.int16, st.integers(0, 50)), max_size=5))
def test_audio_store_holds_the_appended_samples(tmp_path_factory, parts):
    path = tmp_path_factory.mktemp("store") / "audio.npy"
    with AudioStore(path) as store:
        for part in parts:
            store.append(part)
    whole = np.concatenate([np.zeros(0, np.int16), *parts])
    assert np.array_equal(np.load(path), whole)
    with AudioReader(path) as reader:
        assert reader.samples == len(whole)
        for start in range(0, len(whole), 20):
            blocks = reader.blocks(start, len(whole) - start)
            assert np.array_equal(np.concatenate(list(blocks)), whole[start:])


def corpus_of(tmp_path, name, sounds):
    """Prepare a corpus of (file, seed of its noise, emotion, speaker)."""
    root = tmp_path / name
    root.mkdir()
    rows = []
    for file, seed, emotion, speaker in sounds:
        soundfile.write(root / file, noise(seed=seed), 16000)
        rows.append(row(file, emotion=emotion, speaker=speaker))
    prepare(rows, root, tmp_path / "prepared" / name, corpus=name)


def merge(tmp_path, names, duplicates="first"):
    return merge_corpora(
        names, prepared=tmp_path / "prepared", folder=tmp_path / "out", duplicates=duplicates
    )


@pytest.fixture
def two(tmp_path):
    """Two corpora with duplicate recordings, and one left behind by an earlier choice."""
    corpus_of(
        tmp_path,
        "one",
        [
            ("a.wav", 1, "sad", "03"),
            ("b.wav", 1, "sad", "03"),
            ("c.wav", 2, "sad", "04"),
            ("d.wav", 2, "happy", "04"),
            ("e.wav", 3, "angry", "04"),
            ("f.wav", 4, "fear", "04"),
        ],
    )
    corpus_of(tmp_path, "two", [("a.wav", 4, "fear", "04"), ("b.wav", 5, "sad", "03")])
    corpus_of(tmp_path, "leftover", [("a.wav", 6, "sad", "03")])


def test_of_many_copies_a_reason_names_ten(tmp_path):
    corpus_of(tmp_path, "one", [(f"{number:02}.wav", 1, "sad", "03") for number in range(13)])
    excluded = merge(tmp_path, ["one"]).set_index("clip")["excluded"]
    ten = ", ".join(f"one/{number:02} (sad)" for number in range(10))
    assert excluded["one/00"] == ""
    assert excluded["one/12"] == f"same recording as: {ten} and 2 more"
    assert excluded["one/01"].startswith("same recording as: one/00 (sad), one/02 (sad), one/03")
    assert excluded["one/01"].endswith("one/10 (sad) and 2 more")


@pytest.mark.parametrize(
    ("duplicates", "reason", "source"),
    [("first", "same recording as: one/a (sad)", "one/b"), ("all", "", "one/a")],
)
def test_merge_reads_only_the_chosen_corpora_and_finds_duplicates(
    tmp_path, two, duplicates, reason, source
):
    clips = merge(tmp_path, ["one", "two"], duplicates)
    assert clips.set_index("clip")["excluded"].to_dict() == {
        "one/a": "",
        "one/b": reason,
        "one/c": "same recording under another label: one/d (happy)",
        "one/d": "same recording under another label: one/c (sad)",
        "one/e": "",
        "one/f": "same recording under another speaker: two/a (fear)",
        "two/a": "same recording under another speaker: one/f (fear)",
        "two/b": "",
    }
    assert dict(zip(clips["clip"], clips["source"], strict=True)) == {
        clip: source if clip == "one/b" else clip for clip in clips["clip"]
    }
    assert set(clips["speaker"]) == {"one/03", "one/04", "two/03", "two/04"}
    audio = open_audio(tmp_path / "out" / "audio.npy")
    for clip in clips[clips["excluded"] == ""].itertuples():
        prepared = read_clips(tmp_path / "prepared" / clip.corpus / "clips.csv")
        before = prepared.set_index("clip").loc[clip.clip]
        source = open_audio(tmp_path / "prepared" / clip.corpus / "audio.npy")
        expected = source[before["start"] : before["start"] + before["samples"]]
        assert np.array_equal(audio[clip.start : clip.start + clip.samples], expected)
    assert len(audio) == clips["samples"].sum()


def test_copies_share_their_source_with_related_clips():
    """a1 and a2 are segments of one file, b1 and b2 of another; a2 = b1 and b2 = c are equal."""
    facts = {"a1": ("a1", 1), "a2": ("a1", 2), "b1": ("b1", 2), "b2": ("b1", 3), "c": ("c", 3)}
    clips = pd.concat(
        [
            table(clip=f"x/{clip}", source=f"x/{source}", sha256=str(number) * 64)
            for clip, (source, number) in facts.items()
        ],
        ignore_index=True,
    )
    settled = check_clips(settle_duplicates(clips, use="all"), "t")
    assert set(settled["source"]) == {"x/a1"}
    settled = check_clips(settle_duplicates(clips, use="first"), "t")
    assert list(settled.loc[settled["excluded"] == "", "clip"]) == ["x/a1", "x/a2", "x/b2"]


def test_setting_of_duplicates_is_checked(tmp_path, two):
    with pytest.raises(ValueError, match="duplicates: got 'last', want first or all"):
        merge(tmp_path, ["one"], "last")
    assert not (tmp_path / "out").exists()


def table(**changes):
    facts = {column: "" if kind == "str" else 1 for column, kind in COLUMNS.items()}
    facts |= {
        "clip": "x/a",
        "source": "x/a",
        "variant": "clean",
        "speaker": "x/1",
        "emotion": "sad",
        "sha256": "0" * 64,
    }
    return pd.DataFrame([facts | changes])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"emotion": "joy"}, "x/a: emotion: got joy, want one of angry"),
        ({"speaker": ""}, "x/a: speaker: got nothing"),
        ({"sha256": "1"}, "x/a: sha256: got 1"),
        ({"samples": 0}, "x/a: samples: got 0"),
        ({"frames": 0}, "x/a: frames: got 0"),
        ({"excluded": "silent"}, "x/a: samples: got 1, want .*0 for an excluded"),
        ({"sex": "f"}, "x/a: sex: got f, want one of female, male"),
        ({"source": "x/b"}, "x/a: source: got x/b"),
    ],
)
def test_clip_table_is_checked(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        write_clips(table(**changes), tmp_path / "clips.csv")
    assert not list(tmp_path.iterdir())


def test_clip_table_names_wrong_columns_and_repeated_clips():
    with pytest.raises(ValueError, match=r"t: .*\['age'\], .*\['mood'\]"):
        check_clips(table().rename(columns={"age": "mood"}), "t")
    with pytest.raises(ValueError, match="x/a: clip: got x/a, want .* once"):
        check_clips(pd.concat([table(), table()]), "t")


def test_a_source_must_be_its_own_source():
    names = (("x/a", "x/a"), ("x/b", "x/a"), ("x/c", "x/b"))
    clips = pd.concat([table(clip=clip, source=source) for clip, source in names])
    check_clips(clips.iloc[:2], "t")
    with pytest.raises(ValueError, match="x/c: source: got x/b, want .* its own source"):
        check_clips(clips, "t")


def test_text_that_looks_like_missing_data_survives(tmp_path):
    write_clips(table(sentence="NA", take="null", age=""), tmp_path / "clips.csv")
    clip = read_clips(tmp_path / "clips.csv").iloc[0]
    assert (clip["sentence"], clip["take"], clip["age"]) == ("NA", "null", "")


def test_an_output_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError), complete(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "leftover").touch()
    with complete(tmp_path / "out") as part:
        part.mkdir()
        (part / "new").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new"]
