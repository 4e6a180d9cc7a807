"""Excerpts of long recordings: samples, names, sources, faults, and a cost that stays linear."""

import math

import numpy as np
import pytest
import soundfile

from stages.audio import cutting, decoding
from stages.audio.isolation import Stream
from stages.audio.store import open_audio
from stages.clips.clip_table import read_clips
from stages.clips.merging import merge_corpora
from stages.clips.names import escape_name, excerpt_name, part_of_file, recording_of
from stages.clips.preparation import prepare_corpus
from stages.protocols import loso
from stages.splits.assignment import split_clips
from stages.splits.leaks import leakage
from tests.support import AUDIO, reader

RATE = 22050


def noise(seconds, *, channels=1, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, (round(seconds * RATE), channels))


def write(path, samples, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {"subtype": "FLOAT"} if path.suffix == ".wav" else settings
    soundfile.write(path, samples, RATE, **settings)


def prepare(root, lines, **settings):
    """Prepare a table of file, start, end, emotion and speaker; clips by name, and the audio."""
    text = "file,start,end,emotion,speaker\n" + "".join(
        ",".join(map(str, line)) + "\n" for line in lines
    )
    (root / "clips.csv").write_text(text)
    target = root.with_name(f"{root.name}-prepared") / "table"
    prepare_corpus(
        reader("table")(root),
        corpus="table",
        root=root,
        folder=target,
        hop_length=256,
        **AUDIO | settings,
    )
    return read_clips(target / "clips.csv").set_index("clip"), open_audio(target / "audio.npy")


def samples_of(clips, audio, clip):
    row = clips.loc[clip]
    return audio[row["start"] : row["start"] + row["samples"]]


# Apart, touching, overlapping, within another one, unordered.
TIMES = [(2.5, 3.25), (0, 0.5), (0.5, 1.2001), (1.1, 2.2), (1.15, 1.9), (0.3, 1.3), (2.6, 2.8)]


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3"])
@pytest.mark.parametrize("changes", [{}, {"trim_db": 40, "segment_s": 0.3}])
def test_an_excerpt_is_what_the_cut_file_gives(tmp_path, suffix, changes, monkeypatch):
    """Also where what is kept lies on disk, and blocks are short."""
    monkeypatch.setattr(cutting, "_IN_MEMORY", 100)
    monkeypatch.setattr(cutting, "_SKIP", 1000)
    monkeypatch.setattr(decoding, "_BLOCK", 6000)
    long = noise(3.5, channels=2) * np.linspace(0.1, 1, round(3.5 * RATE))[:, None]
    write(tmp_path / "long" / f"a{suffix}", long)
    with decoding.opened(tmp_path / "long" / f"a{suffix}") as file:
        decoded = file.read(len(long))
    for number, (start, end) in enumerate(TIMES):
        piece = decoded[round(start * RATE) : round(end * RATE)]
        write(tmp_path / "cut" / f"{number}.wav", piece)
    lines = [(f"a{suffix}", *times, "sad", "anna") for times in TIMES]
    clips, audio = prepare(tmp_path / "long", lines, **changes)
    lines = [(f"{number}.wav", "", "", "sad", "anna") for number in range(len(TIMES))]
    cut, cut_audio = prepare(tmp_path / "cut", lines, **changes)
    assert len(clips) == len(cut) and (clips["excluded"] == "").all()
    known = ["channels", "rate_hz", "duration_s", "level_db", "sha256", "samples", "excluded"]
    for number, times in enumerate(TIMES):
        whole = excerpt_name("table/a", *times)
        for name in cut.index[cut["file"] == f"{number}.wav"]:
            clip = name.replace(f"table/{number}", whole)
            assert clips.loc[clip, known].equals(cut.loc[name, known].rename(clip))
            expected = samples_of(cut, cut_audio, name)
            assert np.array_equal(samples_of(clips, audio, clip), expected)
    assert len(audio) == len(cut_audio)


def test_names_of_excerpts_are_no_names_of_files():
    assert excerpt_name("a", 0, 12.3456) == "a@0-12.3456"
    assert excerpt_name("a", 1e-6, 10) == "a@0.000001-10"
    for name in ("a@0-12.3456", "a%400-1", "a@home", "b@c-1"):
        assert (escape_name(name) == name) == (name in ("a@home", "b@c-1"))
    assert escape_name("a@0-1") != escape_name("a%400-1")
    assert recording_of("a@0-1+02#noise") == "a@0-1"
    assert part_of_file("a@0.5-12.3456") == ("a", 0.5, 12.3456)
    assert part_of_file("a@home") == ("a@home", 0, math.inf)


def test_a_file_named_like_an_excerpt_and_a_file_in_two_formats(tmp_path):
    for seed, name in enumerate(("a.wav", "a.flac", "a@0-1.wav")):
        write(tmp_path / "t" / name, noise(2, seed=seed))
    lines = [("a.wav", 0, 1, "sad", "x"), ("a@0-1.wav", "", "", "sad", "x")]
    clips, _ = prepare(tmp_path / "t", [*lines, ("a.wav", "", "", "happy", "x")])
    usable = clips[clips["excluded"] == ""]
    assert set(usable.index) == {"table/a@0-1", "table/a%400-1", "table/a"}
    # The whole file shares its sound with its excerpt.
    assert usable["source"].to_dict() == {
        "table/a": "table/a",
        "table/a@0-1": "table/a",
        "table/a%400-1": "table/a%400-1",
    }


def test_times_outside_the_file_and_faults_of_the_file(tmp_path):
    root = tmp_path / "t"
    good = noise(3)
    good[100] = np.nan
    write(root / "a.wav", good)
    write(root / "cut.flac", noise(3))
    content = (root / "cut.flac").read_bytes()
    (root / "cut.flac").write_bytes(content[: len(content) // 2])
    (root / "text.wav").write_text("dear diary")
    times = {
        (0, 1): "not finite: 1 samples",
        (1, 2): "",
        (2, 3.05): "",  # tables round
        (2, 3.2): "outside the recording: got start 2 s and end 3.2 s, want an end at most 3.000 s",
        (3, 3.05): "outside the recording: got start 3 s",
        (4, 5): "outside the recording: got start 4 s and end 5 s, want an end at most 3.000 s",
        (1, "9" * 30): "outside the recording",
        (1, 1.01): "too short: 0.010 s",
    }
    lines = [("a.wav", *span, "sad", "x") for span in times]
    lines += [("cut.flac", 0, 1, "sad", "x"), ("cut.flac", 2, 2.9, "sad", "x")]
    lines += [("text.wav", 0, 1, "sad", "x"), ("text.wav", 0.5, 1.5, "sad", "x")]
    clips, audio = prepare(root, lines)
    assert len(clips) == len(lines)
    for (start, end), reason in times.items():
        got = clips.loc[excerpt_name("table/a", start, float(end)), "excluded"]
        assert got.startswith(reason) and bool(got) == bool(reason)
    assert clips.loc["table/a@2-3.05", "duration_s"] == 1
    assert clips.loc["table/cut@0-1", "excluded"] == ""
    assert clips.loc["table/cut@2-2.9", "excluded"].startswith("cannot be decoded")
    text = clips[clips["file"] == "text.wav"]
    assert text["excluded"].str.startswith("cannot be decoded").all()
    assert len(audio) == clips["samples"].sum()


def test_a_file_is_decoded_once_and_only_as_far_as_its_last_excerpt(tmp_path, monkeypatch):
    """Its cost and what is kept on disk do not grow with the product of length and lines."""
    asked = []
    block = Stream.block
    monkeypatch.setattr(
        Stream, "block", lambda self, count: asked.append(len(got := block(self, count))) or got
    )
    kept = []
    spooled = cutting.SpooledTemporaryFile

    class Kept(spooled):
        def write(self, content):
            kept.append(content.nbytes)
            return super().write(content)

    monkeypatch.setattr(cutting, "SpooledTemporaryFile", Kept)
    write(tmp_path / "t" / "a.wav", noise(30))
    lines = [("a.wav", k / 10, k / 10 + 0.1, "sad", "x") for k in range(200)]
    clips, _ = prepare(tmp_path / "t", lines)
    assert (clips["excluded"] == "").all() and clips["source"].nunique() == 200
    assert sum(asked) == 20 * RATE and not kept
    asked.clear()
    lines = [("a.wav", k / 10, k / 10 + 0.2, "sad", "x") for k in range(199)]
    clips, _ = prepare(tmp_path / "t", lines)
    assert (clips["excluded"] == "").all() and set(clips["source"]) == {"table/a@0-0.2"}
    assert sum(asked) == 20 * RATE and sum(kept) <= 4 * 20 * RATE


def test_two_speakers_at_once_are_never_on_both_sides(tmp_path):
    """An excerpt that shares sound with a tested one does not train; others of the file do."""
    for talk in "12":
        write(tmp_path / "t" / f"{talk}.wav", noise(8, seed=int(talk)))
    turns = [("ann", 0, 1), ("bob", 0.8, 2), ("ann", 2, 3), ("bob", 3, 4), ("ann", 5, 6)]
    turns += [("bob", 6, 7)]
    lines = [
        (f"{talk}.wav", start, end, ("sad", "angry")[start >= 3], f"{name}{talk}")
        for talk in "12"
        for name, start, end in turns
    ]
    prepare(tmp_path / "t", lines)
    clips = merge_corpora(
        ["table"], prepared=tmp_path / "t-prepared", folder=tmp_path / "m", duplicates="first"
    )
    clips = clips.assign(label=clips["emotion"])
    rules = {"speaker_dependent": False, "sentences_held_out": False}
    split = split_clips(clips, protocol=loso.assign, validation=0, **rules).set_index("clip")
    (fold,) = [fold for fold in "0123" if split.loc["table/1@0-1", fold] == "test"]
    assert split.loc["table/1@0.8-2", fold] == ""
    others = split.loc[clips.loc[clips["speaker"] != "table/ann1", "clip"], fold]
    assert (others.drop("table/1@0.8-2") == "train").all()
    assert (split[list("0123")] == "test").sum(axis=1).eq(1).all() and (
        split["all"] == "train"
    ).all()
    report = leakage(clips, split.reset_index(), **rules)
    assert all(entry["shared_sources"] == entry["shared_speakers"] == 0 for entry in report)
