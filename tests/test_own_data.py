"""A user's own recordings, in folders named after emotions or listed in a table."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from omegaconf import OmegaConf

from stages.clips.preparation import prepare_corpus
from stages.running.settings import bind
from stages.sources.vocabulary import EMOTIONS, SYNONYMS, age_of, emotion_of, emotion_words, sex_of
from tests.support import AUDIO, ROOT, reader


def make(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def by_file(rows: list[dict]) -> dict[str, dict]:
    assert len({row["clip"] for row in rows}) == len(rows)
    return {row["file"]: row for row in rows}


def reasons(rows: list[dict]) -> dict[str, str]:
    return {row["clip"]: row.get("excluded", "") for row in rows}


# Words


def test_every_emotion_and_no_word_twice():
    assert tuple(SYNONYMS) == EMOTIONS
    words = [word for emotion, synonyms in SYNONYMS.items() for word in (emotion, *synonyms)]
    assert len(words) == len(set(words))


@pytest.mark.parametrize(
    ("word", "emotion"),
    [
        ("angry", "angry"),
        ("Anger", "angry"),
        (" Pleasant Surprise ", "surprise"),
        ("pleasant-surprised", "surprise"),
        ("JOY", "happy"),
        ("excited", ""),
        ("", ""),
    ],
)
def test_words_for_emotions(word, emotion):
    got, reason = emotion_of(word, emotion_words({}))
    assert got == emotion
    assert bool(reason) == (not emotion)


def test_own_words_take_precedence():
    words = emotion_words({"Excited": "happy", "joy": "amused", "01": "sad"})
    assert [emotion_of(word, words)[0] for word in ("excited", "Joy", "01", "happy")] == [
        "happy",
        "amused",
        "sad",
        "happy",
    ]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({1: "sad"}, "emotions: got 1, want text"),
        ({"wut": "anger"}, "emotions: wut: got 'anger', want one of angry, disgust"),
    ],
)
def test_own_words_are_checked(own, message):
    with pytest.raises(ValueError, match=message):
        emotion_words(own)


def test_words_for_sex_and_age():
    assert [sex_of(word) for word in ("F", " Male", "woman", "x", "")] == [
        *("female", "male", "female"),
        *("", ""),
    ]
    assert [age_of(word) for word in (" 51", "51.0", "51.5", "5l", "", "-3")] == [
        *("51", "51"),
        *("", "", "", ""),
    ]


# The examples of data/raw/README.md


def example(corpus: str) -> dict:
    text = (ROOT / "data" / "raw" / "README.md").read_text()
    blocks = map(OmegaConf.create, re.findall(r"```yaml\n(.*?)```", text, re.S))
    (settings,) = (block[corpus] for block in blocks if corpus in block)
    assert set(settings) == {"reader", "release", "download"}
    return OmegaConf.to_container(settings.reader)


def test_example_of_folder(tmp_path):
    make(tmp_path, "anna/angry/1.wav", "anna/Happiness/1.wav", "ben/gelangweilt/1.wav")
    rows = bind(example("folder"), "corpora")(tmp_path)
    assert [(row["speaker"], row["emotion"], row["language"]) for row in rows] == [
        ("anna", "happy", "de"),
        ("anna", "angry", "de"),
        ("ben", "boredom", "de"),
    ]


def test_example_of_table(tmp_path):
    make(tmp_path, "a.wav", "b.wav", "labels/all.csv")
    (tmp_path / "labels" / "all.csv").write_text(
        "path,emotion,actor\na.wav,ANGR,anna\nb.wav,1,ben\n"
    )
    rows = bind(example("table"), "corpora")(tmp_path)
    assert [(row["speaker"], row["emotion"]) for row in rows] == [
        ("anna", "angry"),
        ("ben", "happy"),
    ]


# folder


def test_folder_with_default_settings(tmp_path, caplog):
    """Folders of emotions directly in the folder of the corpus, and one speaker."""
    root = make(tmp_path, "angry/a.wav", "Sadness/b/c.flac", "fun/d.wav", "e.wav")
    rows = by_file(reader("folder")(root))
    assert rows["angry/a.wav"] == {
        "clip": "angry/a",
        "file": "angry/a.wav",
        "speaker": "unknown",
        "emotion": "angry",
        "language": "",
        "sex": "",
    }
    assert (rows["Sadness/b/c.flac"]["emotion"], rows["Sadness/b/c.flac"]["clip"]) == (
        "sad",
        "Sadness/b/c",
    )
    assert rows["fun/d.wav"]["excluded"].startswith("emotion unknown: got fun, want one of angry")
    assert rows["e.wav"]["excluded"].startswith("emotion unknown: got nothing, want one of")
    assert "speaker" in caplog.text and "unknown" in caplog.text


def test_roots_alone_do_not_make_speakers(tmp_path):
    """The same people may well speak in train/ and in test/."""
    root = make(tmp_path, "train/angry/a.wav", "test/angry/a.wav", "train/sad/b.wav")
    rows = reader("folder", roots=["train", "test"])(root)
    assert {row["speaker"] for row in rows} == {"unknown"}
    assert reasons(rows) == {"test/angry/a": "", "train/angry/a": "", "train/sad/b": ""}


def test_speakers_by_a_regular_expression(tmp_path, caplog):
    root = make(tmp_path, "anna/angry/a.wav", "ben/sad/a.wav", "1/sad/a.wav", "cd/x/angry/a.wav")
    read = reader(
        "folder",
        roots=["anna", "b*", "1", "cd/x"],
        speaker=r"^(?P<speaker>[a-z]+)/",
        language="de",
        sex="F",
    )
    rows = by_file(read(root))
    assert rows["anna/angry/a.wav"] == {
        "clip": "anna/angry/a",
        "file": "anna/angry/a.wav",
        "speaker": "anna",
        "emotion": "angry",
        "language": "de",
        "sex": "female",
    }
    assert rows["ben/sad/a.wav"]["speaker"] == "ben"
    assert rows["cd/x/angry/a.wav"]["speaker"] == "cd"
    reason = rows["1/sad/a.wav"]["excluded"]
    assert reason.startswith("speaker unknown: got 1/sad/a.wav")
    assert "^(?P<speaker>[a-z]+)/" in reason
    assert not caplog.records


def test_files_outside_the_roots_or_in_two_keep_their_rows(tmp_path):
    root = make(tmp_path, "anna/sad/a.wav", "old/sad/a.wav", "a.wav")
    found = reasons(reader("folder", roots=["anna"])(root))
    assert found.pop("anna/sad/a") == ""
    assert set(found) == {"a", "old/sad/a"}
    for clip, reason in found.items():
        assert re.fullmatch(f"outside the roots: got {clip}.wav, want .* anna", reason)
    reason = reasons(reader("folder", roots=[".", "anna"])(root))["anna/sad/a"]
    assert re.fullmatch("in several roots: got anna/sad/a.wav, want .* ., anna", reason)


def test_names_of_folders_that_only_the_user_knows(tmp_path):
    root = make(tmp_path, "Wut/a.wav", "01/a.wav")
    rows = reader("folder", emotions={"wut": "angry", "01": "neutral"})(root)
    assert {row["emotion"] for row in rows} == {"angry", "neutral"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"roots": ["anna", "bob"]}, "roots: no audio file below bob, got .* anna, old"),
        ({"roots": ["../anna"]}, "roots: no audio file below ../anna"),
        ({"roots": "anna"}, "roots: got 'anna', want a list"),
        ({"speaker": "(?P<who>x)"}, r"speaker: got .*, want .*\(\?P<speaker>"),
        ({"speaker": "("}, r"speaker: got '\(', missing \).*want"),
        ({"language": False}, "language: got False, want text"),
        ({"sex": "both"}, "sex: got 'both', want female, male or null"),
        ({"emotions": {"x": "y"}}, "emotions: x: got 'y', want one of"),
    ],
)
def test_wrong_settings_of_folder_are_named(tmp_path, changes, message):
    root = make(tmp_path, "anna/sad/a.wav", "old/sad/a.wav")
    with pytest.raises(ValueError, match=message):
        reader("folder", **changes)(root)


# table


def listed(root: Path, text: str, *files: str, **changes: object) -> list[dict]:
    (root / "clips.csv").write_text(text)
    return reader("table", **changes)(make(root, *files))


def test_table_with_all_columns(tmp_path, caplog):
    text = (
        "sentence,file,emotion,speaker,sex,age,language,notes\n"
        "s1,anna/1.wav,Anger,anna,F,31,EN,loud\n"
        "s2,ben\\2.flac,sad,ben,male,,,\n"
    )
    rows = by_file(listed(tmp_path, text, "anna/1.wav", "ben/2.flac"))
    assert rows["anna/1.wav"] == {
        "clip": "anna/1",
        "file": "anna/1.wav",
        "speaker": "anna",
        "sex": "female",
        "age": "31",
        "language": "en",
        "emotion": "angry",
        "sentence": "s1",
        "excluded": "",
    }
    assert (rows["ben/2.flac"]["speaker"], rows["ben/2.flac"]["excluded"]) == ("ben", "")
    assert not caplog.records


def test_table_without_speakers_is_by_one(tmp_path, caplog):
    rows = listed(tmp_path, "file,emotion,sex\na.wav,sad,x\nb.wav,sad,\n", "a.wav", "b.wav")
    assert [(row["speaker"], row["sex"]) for row in rows] == [("unknown", "")] * 2
    assert "no column speaker" in caplog.text and "unknown" in caplog.text
    assert "sex: 'x'" in caplog.text


def test_other_headers_and_words(tmp_path):
    text = "path,label,who\na.wav,Wut,anna\n"
    columns = {"file": "path", "emotion": "label", "speaker": "who"}
    (row,) = listed(tmp_path, text, "a.wav", columns=columns, emotions={"wut": "angry"})
    assert (row["emotion"], row["speaker"]) == ("angry", "anna")


def test_unusable_lines_keep_a_row_with_the_reason(tmp_path):
    text = (
        "file,emotion,speaker\n"
        "good.wav,sad,anna\n"
        "gone.wav,sad,anna\n"
        "../out.wav,sad,anna\n"
        "/etc/out.wav,sad,anna\n"
        "x/../../out.wav,sad,anna\n"
        "odd.wav,joyfull,anna\n"
        "nobody.wav,sad,\n"
        ",sad,anna\n"
        "clips.csv,sad,anna\n"
    )
    make(tmp_path.parent, "out.wav")
    found = reasons(listed(tmp_path, text, "good.wav", "odd.wav", "nobody.wav", "x/rest.wav"))
    assert found.pop("good") == ""
    assert {clip: reason.partition(", want")[0] for clip, reason in found.items()} == {
        "odd": "emotion unknown: got joyfull",
        "gone": "no such file: got gone.wav",
        "../out": "outside the folder: got ../out.wav",
        "/etc/out": "outside the folder: got /etc/out.wav",
        "x/../../out": "outside the folder: got x/../../out.wav",
        "nobody": "speaker unknown: got nothing in line 8",
        "line 9": "no file: got nothing in line 9",
        "clips": "no such file: got clips.csv",
        "x/rest": "not listed: want a line in clips.csv",
    }


def test_files_listed_twice(tmp_path):
    text = (
        "file,emotion,speaker\n"
        "a.wav,sad,anna\n"
        "b.wav,sad,anna\n"
        "./a.wav,Sadness,anna\n"
        "b.wav,happy,anna\n"
        "c.wav,sad,anna\n"
        "c.flac,sad,ben\n"
        "gone.wav,sad,anna\n"
        "gone.wav,sad,anna\n"
    )
    rows = listed(tmp_path, text, "a.wav", "b.wav", "c.wav", "c.flac")
    wanted = [
        ("a", ""),
        ("b", r"listed under another label: line 5 \(happy by anna\)"),
        ("a (line 4)", "listed twice: .*line 2"),
        ("b (line 5)", r"listed under another label: line 3 \(sad by anna\)"),
        ("c", r"listed under another label: line 7 \(sad by ben\)"),
        ("c", r"listed under another label: line 6 \(sad by anna\)"),
        ("gone", "no such file: got gone.wav.*"),
        ("gone (line 9)", "no such file: got gone.wav.*"),
    ]
    for row, (clip, reason) in zip(rows, wanted, strict=True):
        assert row["clip"] == clip and re.fullmatch(reason, row["excluded"])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"table": "other.csv"}, FileNotFoundError, "other.csv: no such"),
        ({"table": "../clips.csv"}, ValueError, "table: got ../clips.csv, want"),
        ({"columns": {"path": "file"}}, ValueError, "columns: got path, want file, emotion, sp"),
        ({"columns": {"age": "years"}}, ValueError, "clips.csv: .*columns file, emotion, want"),
        ({"emotions": {"x": "y"}}, ValueError, "emotions: x: got 'y', want one of"),
    ],
)
def test_wrong_settings_of_table_are_named(tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        listed(tmp_path, "file,emotion\na.wav,sad\n", "a.wav", **changes)


def test_odd_lines_go_through_to_the_clip_table(tmp_path):
    """Names of excluded rows do not collide, and nothing outside the folder is opened."""
    root = tmp_path / "table"
    text = (
        "file,emotion\na.wav,sad\na.wav,sad\na.wav,sad\nb.wav,sad\nb.wav,happy\nc.wav,sad\n"
        "c.flac,sad\n,sad\n,\n../out.wav,sad\ngone.wav,sad\n"
    )
    root.mkdir()
    files = ("a.wav", "b.wav", "c.wav", "c.flac", "rest.wav", "rest.flac")
    listed(root, text, *files)
    for seed, path in enumerate((*map(root.joinpath, files), tmp_path / "out.wav")):
        samples = np.random.default_rng(seed).normal(0, 0.1, 4000)
        soundfile.write(path, samples, 16000)
    clips = prepare_corpus(
        reader("table")(root),
        corpus="table",
        root=root,
        folder=tmp_path / "out",
        hop_length=256,
        **AUDIO,
    )
    assert list(clips.loc[clips["excluded"] == "", "clip"]) == ["table/a", "table/c"]
    assert len(clips) == 13
    (reason,) = clips.loc[clips["clip"] == "table/c.wav", "excluded"]
    assert re.match("second copy: .*c.flac", reason)
