"""A user's own recordings, in folders named after emotions or listed in a table."""

import re
import unicodedata
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from omegaconf import OmegaConf

from stages.clips.preparation import prepare_corpus
from stages.settings.loading import bind
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
        ("tense", ""),
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


@pytest.mark.parametrize(
    ("files", "roots"),
    [
        (("anna/angry/1.wav", "ben/sad/1.wav", "notes/1.wav"), '["*"]'),
        (("x/anna/Angry/1.wav", "y/ben/sad/deep/1.wav", "y/0.wav"), '["*/*"]'),
    ],
)
def test_the_only_depth_at_which_folders_name_emotions_is_read(tmp_path, files, roots, caplog):
    rows = by_file(reader("folder")(make(tmp_path, *files)))
    assert [rows[file].get("emotion") for file in files] == ["angry", "sad", None]
    assert f"read as {roots}" in caplog.text


@pytest.mark.parametrize(
    ("files", "changes", "message"),
    [
        (("anna/a/angry/1.wav", "ben/sad/1.wav"), {}, r'\["\*"\] or \["\*/\*"\]'),
        (("wut/1.wav", "wut/2.wav", "x/1.wav"), {}, r"got wut \(2\), x \(1\), .* emotions$"),
        (("1.wav",), {}, r"got nothing \(1\)"),
        (("a/b/sad/1.wav",), {"roots": ["*"]}, r'got b \(1\), .*roots: \["\*/\*"\]'),
    ],
)
def test_folders_that_name_no_emotion_are_listed(tmp_path, files, changes, message):
    with pytest.raises(ValueError, match=message):
        reader("folder", **changes)(make(tmp_path, *files))


def test_only_a_star_is_special_in_roots(tmp_path):
    root = make(
        tmp_path, "anna [new]/sad/1.wav", "anna n/sad/1.wav", "a?/sad/1.wav", "ab/sad/1.wav"
    )
    rows = by_file(reader("folder", roots=["anna [new]", "a?"])(root))
    assert {file for file, row in rows.items() if not row.get("excluded")} == {
        "anna [new]/sad/1.wav",
        "a?/sad/1.wav",
    }


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_unicode_forms_of_folders_and_settings(tmp_path, form):
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    disk, written = (partial(unicodedata.normalize, name) for name in (form, other))
    root = make(tmp_path, disk("Zoë/colère/1.wav"))
    read = reader(
        "folder",
        roots=[written("Zoë")],
        emotions={written("colère"): "angry"},
        speaker=written("^(?P<speaker>Zoë)/"),
    )
    (row,) = read(root)
    assert (row["emotion"], row["speaker"]) == ("angry", "Zo\u00eb")
    assert row["file"] == disk("Zoë/colère/1.wav")


def test_a_speaker_spelled_in_two_ways_in_folders(tmp_path):
    root = make(tmp_path, "Anna/sad/1.wav", "anna/angry/1.wav", "ben/angry/1.wav")
    settings = {"roots": ["*"], "speaker": "^(?P<speaker>[^/]+)/"}
    with pytest.raises(ValueError, match=r"speaker: .*'Anna' and 'anna'"):
        reader("folder", **settings)(root)
    rows = reader("folder", **settings, spellings="merge")(root)
    assert [row["speaker"] for row in rows] == ["Anna", "Anna", "ben"]


# table


def listed(root: Path, text: str, *files: str, **changes: object) -> list[dict]:
    (root / "clips.csv").write_text(text)
    return reader("table", **changes)(make(root, *files))


def test_table_with_all_columns(tmp_path, caplog):
    text = (
        "sentence,file,emotion,speaker,sex,age,language,fold,notes\n"
        "s1,anna/1.wav,Anger,anna,F,31,EN,07,loud\n"
        "s2,ben\\2.flac,sad,ben,male,,,,\n"
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
        "corpus_fold": "07",
        "excluded": "",
    }
    assert [rows["ben/2.flac"][name] for name in ("speaker", "corpus_fold", "excluded")] == [
        *("ben", "", ""),
    ]
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


def test_paths_of_other_systems_and_spellings(tmp_path):
    names = ("sub/A.wav", "Zoe\u0308.wav", "b\\c.wav", "x.wav", "X.wav", "d/e.wav")
    cells = {
        "SUB\\a.WAV": "sub/A.wav",
        "Zo\u00eb.wav": "Zoe\u0308.wav",
        "b\\c.wav": "b\\c.wav",
        "x.wav": "x.wav",
        "X.wav": "X.wav",
        f"{tmp_path}/d/e.wav": "d/e.wav",
    }
    text = "file,emotion,speaker\n" + "".join(f"{cell},sad,anna\n" for cell in cells)
    rows = listed(tmp_path, text, *names)
    assert [(row["file"], row["excluded"]) for row in rows] == [
        (file, "") for file in cells.values()
    ]
    (tmp_path / "X.WAV").touch()
    text = "file,emotion,speaker\nX.Wav,sad,anna\nC:\\other\\y.wav,sad,anna\n"
    reason, drive = (row["excluded"] for row in listed(tmp_path, text)[:2])
    assert re.match(r"unclear file: got X.Wav, want one of X.WAV, X.wav, x.wav", reason)
    assert re.match(r"outside the folder: got C:/other/y.wav", drive)


def test_lines_for_excerpts_in_all_spellings_of_times(tmp_path):
    text = (
        "file;start;end;emotion;speaker\n"
        "a.wav;0;1,5;sad;x\na.wav;1.5;1:02.25;happy;x\na.wav;1e-05;1:01:01;sad;x\n"
        "a.wav;0 days 00:00:01;1 day, 0:00:01.5;sad;x\n"
        "b.wav;0.0;;sad;x\nc.wav;;;sad;x\n"
        "d.wav;noon;2;sad;x\nd.wav;1;;sad;x\nd.wav;;1;sad;x\nd.wav;nan;1;sad;x\n"
        "d.wav;-1;1;sad;x\nd.wav;2;2,0;sad;x\n"
        "a.wav;0.00;1.500;sad;x\na.wav;1.5;62,25;sad;x\n"
    )
    rows = listed(tmp_path, text, *(f"{name}.wav" for name in "abcd"))
    cut = [row.get("times") for row in rows[:6]]
    assert cut == [(0, 1.5), (1.5, 62.25), (1e-5, 3661), (1, 86401.5), None, None]
    unclear = "times unclear: got start {} and end {}"
    assert [row["excluded"].partition(", want")[0] for row in rows] == [
        "",
        "listed under another label: line 15 (sad by x)",
        *("", "", "", ""),
        unclear.format("noon", "2"),
        unclear.format("1", "empty"),
        unclear.format("empty", "1"),
        unclear.format("nan", "1"),
        unclear.format("-1", "1"),
        "times in disorder: got start 2 and end 2,0",
        "listed twice: already in line 2",
        "listed under another label: line 3 (happy by x)",
    ]


@pytest.mark.parametrize(
    ("columns", "changes", "message"),
    [
        ("start", {}, "times in the column start but no column end, want both"),
        ("end", {}, "times in the column end but no column start, want both"),
        ("from,end", {"columns": {"end": "end"}}, "column end but no column start"),
        ("from,start", {"columns": {"end": "to"}}, "missing or repeated: to"),
    ],
)
def test_one_of_two_columns_of_times_is_refused(tmp_path, columns, changes, message):
    cells = ",".join("1" for _ in columns.split(","))
    text = f"file,emotion,{columns}\na.wav,sad,{cells}\n"
    with pytest.raises(ValueError, match=message):
        listed(tmp_path, text, "a.wav", **changes)


@pytest.mark.parametrize("cell", ["", "0", "2026-05-03", "intro"])
def test_columns_of_another_meaning_are_ignored(tmp_path, cell):
    text = f"file,emotion,start\na.wav,sad,{cell}\n"
    (row,) = listed(tmp_path, text, "a.wav")
    assert "times" not in row and row["excluded"] == ""


def test_a_table_whose_words_are_not_known_lists_them(tmp_path):
    text = "file,emotion\na.wav,Wut\nb.wav,Wut\nc.wav,\n"
    with pytest.raises(ValueError, match=r"got Wut \(2\), nothing \(1\), want .* emotions$"):
        listed(tmp_path, text, "a.wav", "b.wav", "c.wav")


def test_a_speaker_spelled_in_two_ways_in_a_table(tmp_path):
    """Also where two lines of one file differ in nothing else."""
    text = "file,emotion,speaker\na.wav,sad,Zoë\na.wav,sad,zoë\nb.wav,sad,zoë\n"
    with pytest.raises(ValueError, match=r"clips.csv: speaker: .*'zoë' and 'Zoë'.*merge"):
        listed(tmp_path, text, "a.wav", "b.wav")
    rows = listed(tmp_path, text, "a.wav", "b.wav", spellings="merge")
    assert {row["speaker"] for row in rows} == {"zoë"}
    assert rows[1]["excluded"] == "listed twice: already in line 2"


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
    assert re.match("name taken: by c.flac", reason)
