"""Readers of corpora beyond the first ones: names, tables and their traps."""

import re
import unicodedata
from pathlib import Path

import pytest

from stages.clips.clip_table import DESCRIPTION
from stages.corpora import esd
from stages.sources.vocabulary import EMOTIONS
from tests.support import composed, reader
from tests.test_readers import make

#: File without suffix, then its clip and what the name says.
NAMES = [
    (
        "subesco",
        "x/F_10_FAHMEE_S_6_FEAR_5",
        *("F10_S6_FEAR_5", "F10", "female", "bn", "fear", "6", "5"),
    ),
    (
        "subesco",
        "F_02_MONIKA_S_2_SURPRISE_3]",
        *("F02_S2_SURPRISE_3", "F02", "female", "bn", "surprise", "2", "3"),
    ),
    (
        "subesco",
        "m_1_tuhin_s_10_happy_1",
        "M01_S10_HAPPY_1",
        "M01",
        "male",
        "bn",
        "happy",
        "10",
        "1",
    ),
    ("emovo", "f1/gio-f1-b1", "gio-f1-b1", "f1", "female", "it", "happy", "b1", ""),
    ("emovo", "PAU-M3-N5", "pau-m3-n5", "m3", "male", "it", "fear", "n5", ""),
    ("shemo", "male/M36S02", "M36S02", "M36", "male", "fa", "sad", "", "02"),
    ("shemo", "female/F36F01", "F36F01", "F36", "female", "fa", "fear", "", "01"),
    ("shemo", "M01W10", "M01W10", "M01", "male", "fa", "surprise", "", "10"),
    (
        "jlcorpus",
        "Raw JL corpus (unchecked and unannotated)/JL(wav+txt)/female1_angry_1a_1",
        *("female1_angry_1a_1", "female1", "female", "en", "angry", "1a", "1"),
    ),
    (
        "jlcorpus",
        "male2_concerned_6b_2",
        *("male2_concerned_6b_2", "male2", "male", "en", "concerned", "6b", "2"),
    ),
    ("cafe", "Colère/Fort/01-C-2-1", "01-C-2-1", "01", "male", "fr", "angry", "1", ""),
    ("cafe", "Neutre/12-N-0-6", "12-N-0-6", "12", "female", "fr", "neutral", "6", ""),
    (
        "esd",
        "0011/Angry/train/0011_000351",
        *("0011_000351", "0011", "", "en", "angry", "en001", ""),
    ),
    ("esd", "0010/0010_001750", "0010_001750", "0010", "", "zh", "surprise", "zh350", ""),
]
FIELDS = ("clip", "speaker", "sex", "language", "emotion", "sentence", "take")


@pytest.mark.parametrize(("corpus", "name", *FIELDS), NAMES)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_what_a_name_says(
    tmp_path, form, corpus, name, clip, speaker, sex, language, emotion, sentence, take
):
    (row,) = reader(corpus)(make(tmp_path, [unicodedata.normalize(form, name)]))
    wanted = dict(zip(FIELDS, (clip, speaker, sex, language, emotion, sentence, take), strict=True))
    assert {field: row.get(field, "") for field in FIELDS} == wanted
    assert row.get("excluded", "") == "" and set(row) <= set(DESCRIPTION)


@pytest.mark.parametrize(
    ("corpus", "name", "reason"),
    [
        ("subesco", "F_11_X_S_6_FEAR_5", "number .*got 11, want 01 02"),
        ("subesco", "F_10_X_S_11_FEAR_5", "sentence .*got 11, want 1 2"),
        ("subesco", "F_10_X_S_1_CALM_5", "emotion .*got CALM, want ANGRY"),
        ("subesco", "F_10_X_S_1_FEAR_6", "take .*got 6, want 1 2 3 4 5"),
        ("emovo", "xyz-f1-b1", "emotion .*got xyz, want dis"),
        ("emovo", "gio-f4-b1", "speaker .*got f4, want f1"),
        ("shemo", "M36L02", "emotion .*got L, want A F H N S W"),
        ("jlcorpus", "male3_angry_1a_1", "speaker .*got male3, want female1"),
        ("jlcorpus", "male1_bored_1a_1", "emotion .*got bored, want angry"),
        ("cafe", "13-C-1-2", "actor .*got 13, want 01"),
        ("cafe", "01-X-1-2", "emotion .*got X, want C D J N P S T"),
        ("cafe", "01-C-0-2", "intensity .*got 0, want 1 2"),
        ("cafe", "01-C-1-7", "sentence .*got 7, want 1 2 3 4 5 6"),
        ("esd", "0021_000001", "speaker .*got 0021, want 0001 to 0020"),
        ("esd", "0020_001751", "number .*got 001751, want 000001 to 001750"),
        ("esd", "0011/Happy/test/0011_000351", "emotion unclear: got .*Angry, in the folder Happy"),
    ],
)
def test_codes_outside_a_scheme_are_excluded(tmp_path, corpus, name, reason):
    (row,) = reader(corpus)(make(tmp_path, [name]))
    assert re.match(reason, row["excluded"]) and "emotion" not in row


@pytest.mark.parametrize(
    ("corpus", "name"),
    [
        ("cafe", "03-01-06-01-02-01-12"),  # of RAVDESS
        ("shemo", "03a01Wa"),  # of EMO-DB
        ("emovo", "DC_a01"),
        ("esd", "1001_IEO_ANG_HI"),
        ("iemocap", "dialog/wav/Ses01F_impro04"),  # a whole scene
    ],
)
def test_names_of_others_do_not_parse(tmp_path, corpus, name):
    (row,) = reader(corpus)(make(tmp_path, [name]))
    assert re.match(f"name .*: got {name}, want ", row["excluded"])


def test_cafe_intensities(tmp_path):
    rows = reader("cafe")(make(tmp_path, ["01-C-1-1", "01-C-2-1", "01-N-1-1"]))
    assert [row["intensity"] for row in rows] == ["normal", "strong", ""]


def test_esd_sentences_of_two_languages_differ_and_names_are_complete(tmp_path):
    rows = reader("esd")(make(tmp_path, ["0001_000001", "0011_000001", "0011_000351"]))
    assert [row["sentence"] for row in rows] == ["zh001", "en001", "en001"]
    assert len(set(esd.names())) == 35_000


# IEMOCAP

SCENE = "Session1/dialog/EmoEvaluation/Ses01F_impro04.txt"


def iemocap(root: Path, *lines: str, turns: tuple[str, ...], file: str = SCENE) -> list[dict]:
    """Rows of some turns whose labels stand in a file, among lines of single listeners."""
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
    for turn, code in (line.split() for line in lines):
        text += f"[6.2901 - 8.2357]\t{turn}\t{code}\t[2.5000, 2.5000, 2.5000]\n"
        text += "C-E2:\tAnger;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n\n"
    path.write_text(text)
    return reader("iemocap")(make(root, [f"Session1/sentences/wav/x/{turn}" for turn in turns]))


def test_iemocap_speakers_are_the_last_letter_and_labels_are_in_text_files(tmp_path):
    turns = ("Ses01F_impro04_F000", "Ses01F_impro04_M001", "Ses01F_script02_1_M016")
    codes = zip(turns, ("exc", "fru", "oth"), strict=True)
    rows = iemocap(tmp_path, *map(" ".join, codes), turns=turns)
    found = [(row["clip"], row["speaker"], row["sex"], row["emotion"]) for row in rows]
    assert found == [
        (turns[0], "1F", "female", "excited"),
        (turns[1], "1M", "male", "frustrated"),
        (turns[2], "1M", "male", "other"),
    ]
    assert {row["emotion"] for row in rows} <= set(EMOTIONS)
    assert {row["corpus_fold"] for row in rows} == {"01"}  # the session


def test_iemocap_turns_without_one_label_keep_the_reason(tmp_path):
    turns = tuple(f"Ses01F_impro04_F00{n}" for n in range(4))
    iemocap(tmp_path, f"{turns[3]} sad", turns=turns, file="copy/EmoEvaluation/Ses01F_impro04.txt")
    iemocap(tmp_path, f"{turns[1]} ang", turns=turns, file="x/EmoEvaluation/._Ses01F_impro04.txt")
    listener = "x/EmoEvaluation/Categorical/Ses01F_impro04_e2_cat.txt"
    iemocap(tmp_path, f"{turns[1]} ang", turns=turns, file=listener)
    rows = iemocap(tmp_path, f"{turns[0]} xxx", f"{turns[2]} neu", f"{turns[3]} ang", turns=turns)
    reasons = [row.get("excluded", "") for row in rows]
    assert re.match("no agreement: got xxx", reasons[0])
    assert re.match("no label: got nothing in EmoEvaluation", reasons[1])
    assert (reasons[2], rows[2]["emotion"]) == ("", "neutral")
    assert re.match("no label: got ang and sad", reasons[3])


# Emozionalmente

ANNA, BEN = "0a1b2c3d" + "5" * 56, "4e5f6071" + "6" * 56


def emozionalmente(root: Path, *samples: str, numbers: tuple[int, ...], users: str = "") -> list:
    """Rows of some files whose labels stand in a table."""
    folder = root / "emozionalmente" / "metadata"
    folder.mkdir(parents=True, exist_ok=True)
    header = "file_name,sentence,emotion_expressed,actor,timestamp\n"
    (folder / "samples.csv").write_text(header + "".join(f"{line}\n" for line in samples))
    (folder / "evaluations.csv").write_text(
        f"file_name,emotion_recognized\n{numbers[0]}.wav,fear\n"
    )
    (folder / "._samples.csv").write_bytes(b"\0\5\x16\7")
    if users:
        (folder / "users.csv").write_text(users)
    return reader("emozionalmente")(make(root, [f"emozionalmente/audio/{n}" for n in numbers]))


def test_emozionalmente_names_speakers_and_labels_in_tables(tmp_path):
    first, second, third = numbers = (1613655062436, 1613655062437, 1613655062438)
    lines = (
        f'{first}.wav,"In quella piccola stanza vuota, c\'era pace",joy,{ANNA},1',
        f"audio/{second}.wav,Ci vediamo  domani,neutrality,{BEN},2",
        f"{third}.wav,ci vediamo domani,sadness,{BEN},3",
    )
    users = f"username,age,gender,mother_tongue\n{ANNA},31,female,italian\n{BEN},,other,italian\n"
    rows = emozionalmente(tmp_path, *lines, numbers=numbers, users=users)
    found = [(row["clip"], row["speaker"], row["emotion"], row["sex"], row["age"]) for row in rows]
    assert found == [
        (str(first), "0a1b2c3d", "happy", "female", "31"),
        (str(second), "4e5f6071", "neutral", "", ""),
        (str(third), "4e5f6071", "sad", "", ""),
    ]
    assert len({row["sentence"] for row in rows}) == 2
    assert {row["language"] for row in rows} == {"it"}
    assert all(set(row) <= set(DESCRIPTION) for row in rows)


def test_emozionalmente_without_a_label_keeps_the_reason(tmp_path):
    one, two, three, four, five = numbers = tuple(range(1613655062431, 1613655062436))
    lines = (
        f"{one}.wav,a,joy,{ANNA},1",
        f"{one}.wav,a,fear,{ANNA},1",
        f"{two}.wav,a,calm,{ANNA},1",
        f"{three}.wav,a,joy,,1",
        *[f"{five}.wav,a,anger,{BEN},1"] * 2,  # a nested copy of the release
    )
    rows = emozionalmente(tmp_path, *lines, numbers=numbers)
    wanted = ["no label: got .*, fear and .*, joy in", "emotion .*: got calm, want anger"]
    wanted += ["speaker unknown", "no label: got nothing in metadata/samples.csv", "$"]
    for row, reason in zip(rows, wanted, strict=True):
        assert re.match(reason, row.get("excluded", "")), row
    (row,) = reader("emozionalmente")(make(tmp_path / "bare", [str(four)]))
    assert re.match("no label: got nothing as there is no metadata/samples.csv", row["excluded"])


def test_excited_is_happy_only_among_four_classes():
    maps = {name: composed(f"labels={name}")["labels"]["map"] for name in ("four", "six", "eight")}
    assert [maps[name]["excited"] for name in maps] == ["happy", None, "other"]
    assert all(set(mapping) == set(EMOTIONS) for mapping in maps.values())
