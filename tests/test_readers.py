"""Corpus readers on official file names and on others. Known traps: test_traps.py."""

import importlib
import re
from collections import Counter
from pathlib import Path

import pytest

from stages.clips.clip_table import DESCRIPTION, EMOTIONS
from stages.corpora import banglaser, cremad, emodb, emovdb, esd, savee, tess
from stages.sources.files import refuse_strangers
from tests.official import (
    banglaser_names,
    cremad_names,
    emodb_names,
    emovdb_names,
    oreau_names,
    ravdess_names,
    savee_names,
    tess_names,
)
from tests.support import ROOT, reader

NAMES = sorted(path.stem for path in (ROOT / "conf" / "corpora").glob("*.yaml"))
#: Readers of a user's own data, see test_own_data.py.
OWN = ("folder", "table")
PUBLIC = [name for name in NAMES if name not in OWN]
read_ravdess = reader("ravdess")
read_emodb = reader("emodb")


def make(root: Path, names: list[str], *, suffix: str = ".wav") -> Path:
    """Create empty files with these names: readers look only at names."""
    for name in names:
        path = root / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def by_file(rows: list[dict]) -> dict[str, dict]:
    return {row["file"].rpartition(".")[0]: row for row in rows}


def usable(rows: list[dict]) -> list[dict]:
    return [row for row in rows if not row.get("excluded")]


def kinds(rows: list[dict]) -> Counter:
    """Count the rows by the kind of reason: the part before the colon."""
    return Counter(row.get("excluded", "").partition(":")[0] for row in rows)


def row_of(read, root: Path, name: str) -> dict:
    """Row of one file among those of a folder."""
    return by_file(read(root))[name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("read", "names", "sexes", "language", "number"),
    [
        (
            read_ravdess,
            ravdess_names(("11", "12")),
            {"11": "male", "12": "female"},
            "en",
            120,
        ),
        (tess.read, tess_names(), {"OAF": "female", "YAF": "female"}, "en", 2800),
        (
            cremad.read,
            cremad_names(("1001", "1091")),
            {"1001": "male", "1091": "female"},
            "en",
            164,
        ),
        (
            savee.read,
            savee_names(("DC", "KL"), layout="AudioData/{speaker}/{name}"),
            {"DC": "male", "KL": "male"},
            "en",
            240,
        ),
        (
            savee.read,
            savee_names(("JE", "JK"), layout="ALL/{speaker}_{name}"),
            {"JE": "male", "JK": "male"},
            "en",
            240,
        ),
        (read_emodb, emodb_names(), {"08": "female", "03": "male"}, "de", 49 + 58),
        (
            emovdb.read,
            emovdb_names(("bea", "sam"), layout="{speaker}_{folder}"),
            {"bea": "female", "sam": "male"},
            "en",
            5600,
        ),
        (
            emovdb.read,
            emovdb_names(("jenie", "josh"), layout="EmoV-DB_sorted/{speaker}/{folder}"),
            {"jenie": "female", "josh": "male"},
            "en",
            5600,
        ),
        (
            banglaser.read,
            banglaser_names(("33", "34")),
            {"33": "male", "34": "female"},
            "bn",
            90,
        ),
    ],
    ids=[
        *("ravdess", "tess", "cremad", "savee-folders", "savee-flat", "emodb"),
        *("emovdb-release", "emovdb-sorted", "banglaser"),
    ],
)
def test_every_official_name(tmp_path, read, names, sexes, language, number):
    rows = read(make(tmp_path, list(names)))
    assert len(rows) == len(names) == number
    assert {file: (row["emotion"], row["speaker"]) for file, row in by_file(rows).items()} == names
    for row in rows:
        assert row["sex"] == sexes[row["speaker"]]
        assert row["language"] == language
        assert row["sentence"]
        assert row.get("excluded", "") == ""
        assert set(row) <= set(DESCRIPTION)
        assert all(isinstance(value, str) for value in row.values())
        assert row["emotion"] in EMOTIONS
    assert len({row["clip"] for row in rows}) == number


@pytest.mark.parametrize(
    ("read", "stem"),
    [
        (read_ravdess, "03-01-06-01-02-01-12"),
        (tess.read, "OAF_back_angry"),
        (cremad.read, "1001_IEO_ANG_HI"),
        (savee.read, "DC_a01"),
        (read_emodb, "03a01Wa"),
        (banglaser.read, "03-01-04-02-02-01-12"),
    ],
)
def test_suffix_and_depth_do_not_matter(tmp_path, read, stem):
    make(tmp_path / "some" / "where", [stem], suffix=".FLAC")
    (row,) = read(tmp_path)
    assert row["clip"] == stem
    assert row["file"] == f"some/where/{stem}.FLAC"
    assert row.get("excluded", "") == ""


@pytest.mark.parametrize("name", PUBLIC)
def test_a_name_that_does_not_parse_keeps_its_row(tmp_path, name):
    (row,) = reader(name)(make(tmp_path, ["notes/recording_of_the_room"]))
    assert row["clip"] == "notes/recording_of_the_room"
    assert re.match("name .*: got notes/recording_of_the_room, want ", row["excluded"])


#: Names of corpora, at least 54 of each.
ALIKE = {
    "ravdess": ravdess_names(("11",)),
    "tess": tess_names(),
    "cremad": cremad_names(("1001",)),
    "savee": savee_names(("DC",), layout="ALL/{speaker}_{name}"),
    "emodb": emodb_names(),
    "emovdb": emovdb_names(("bea",), layout="{speaker}_{folder}"),
    "banglaser": banglaser_names(("33", "34")),
    "esd": esd.names(),
    "oreau": oreau_names(("08", "09", "10", "30")),
}


@pytest.mark.parametrize("other", ALIKE)
@pytest.mark.parametrize("name", PUBLIC)
def test_a_corpus_in_the_folder_of_another_is_refused(tmp_path, name, other):
    root = make(tmp_path, list(ALIKE[other])[:54])

    def read() -> None:
        refuse_strangers(root, reader(name)(root), corpus=name)

    if name == other:
        read()
        make(tmp_path, [f"mine/{number}" for number in range(54)])  # no more than half
        read()
    else:
        refused = rf"^{root}: \d+ of 54 .* do not belong to .*looks like"
        with pytest.raises(ValueError, match=refused):
            read()


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_says_how_to_get_its_corpus(name):
    lines = importlib.import_module(f"stages.corpora.{name}").HOW_TO_GET.splitlines()
    assert 2 <= len(lines) <= 4, f"{name}: HOW_TO_GET: got {len(lines)} lines, want 2 to 4"
    address = "http" in lines[0] or name in OWN
    assert address, f"{name}: HOW_TO_GET: want an address in the first line"
    assert any(f"{name}/" in line for line in lines), f"{name}: HOW_TO_GET: want the folder {name}/"


# RAVDESS


def ravdess_with(root: Path, *names: str) -> Path:
    """Create stray names among the 120 names of two actors."""
    return make(root, [*ravdess_names(("11", "12")), *names])


def test_ravdess_columns(tmp_path):
    row = row_of(read_ravdess, ravdess_with(tmp_path), "Actor_12/03-01-06-02-02-01-12")
    assert row == {
        "clip": "03-01-06-02-02-01-12",
        "file": "Actor_12/03-01-06-02-02-01-12.wav",
        "speaker": "12",
        "sex": "female",
        "language": "en",
        "emotion": "fear",
        "intensity": "strong",
        "sentence": "02",
        "take": "01",
        "excluded": "",
    }


def test_ravdess_odd_actors_are_men(tmp_path):
    rows = read_ravdess(make(tmp_path, [f"03-01-01-01-01-01-{n:02}" for n in range(1, 25)]))
    sexes = {row["speaker"]: row["sex"] for row in rows}
    assert sexes == {f"{n:02}": "male" if n in range(1, 24, 2) else "female" for n in range(1, 25)}


def test_ravdess_song_is_used_only_if_wanted(tmp_path):
    speech = ravdess_names(("11", "12"))
    songs = [name.replace("/03-01-", "/03-02-") for name in speech if "-07-0" not in name]
    root = ravdess_with(tmp_path, *songs)
    assert kinds(read_ravdess(root)) == {"": 120, "song, not speech": len(songs)}
    rows = reader("ravdess", song=True)(root)
    assert len(usable(rows)) == 120 + len(songs)
    assert len({row["clip"] for row in rows}) == len(rows)
    sentences = {row["clip"].startswith("03-02-"): set() for row in rows}
    for row in rows:
        sentences[row["clip"].startswith("03-02-")].add(row["sentence"])
    assert sentences == {False: {"01", "02"}, True: {"song01", "song02"}}
    assert {row["speaker"] for row in rows} == {"11", "12"}


def test_ravdess_song_of_a_video_is_excluded_also_if_song_is_wanted(tmp_path):
    rows = reader("ravdess", song=True)(ravdess_with(tmp_path, "Actor_11/01-02-03-01-01-01-11"))
    assert kinds(rows) == {"": 120, "audio track of a video": 1}


@pytest.mark.parametrize("modality", ["01", "02"])
def test_ravdess_audio_tracks_of_videos_are_excluded(tmp_path, modality):
    videos = [name.replace("/03-01-", f"/{modality}-01-") for name in ravdess_names(("11", "12"))]
    rows = read_ravdess(ravdess_with(tmp_path, *videos))
    reasons = {row["excluded"] for row in rows} - {""}
    assert kinds(rows) == {"": 120, "audio track of a video": 120}
    assert all(f"got modality {modality}, want 03" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("04-01-03-01-01-01-11", "modality .*got 04, want 01 02 03"),
        ("03-03-03-01-01-01-11", "channel .*got 03, want 01 02"),
        (
            "03-01-09-01-01-01-11",
            "emotion .*got 09, want 01 02 03 04 05 06 07 08",
        ),
        (
            "03-01-00-01-01-01-11",
            "emotion .*got 00, want 01 02 03 04 05 06 07 08",
        ),
        ("03-01-03-03-01-01-11", "intensity .*got 03, want 01 02"),
        ("03-01-03-01-03-01-11", "statement .*got 03, want 01 02"),
        ("03-01-03-01-01-03-11", "repetition .*got 03, want 01 02"),
        ("03-01-03-01-01-01-25", "actor .*got 25, want 01 to 24"),
        ("03-01-03-01-01-01-00", "actor .*got 00, want 01 to 24"),
        (
            "03-01-01-02-01-01-11",
            r"intensity .*got 02 \(strong\) with neutral, want 01",
        ),
    ],
)
def test_ravdess_codes_outside_the_scheme_are_excluded(tmp_path, name, reason):
    rows = read_ravdess(ravdess_with(tmp_path, name))
    assert len(usable(rows)) == 120
    row = by_file(rows)[name]
    assert (row["clip"], row["emotion"]) == (name, "")
    assert re.fullmatch(reason, row["excluded"])


def test_ravdess_names_without_all_fields_do_not_parse(tmp_path):
    row = row_of(read_ravdess, ravdess_with(tmp_path, "03-01-03-01-01-01"), "03-01-03-01-01-01")
    assert re.match("name .*: got 03-01-03-01-01-01, want seven", row["excluded"])


def test_ravdess_refuses_above_one_in_twenty(tmp_path):
    strays = [f"stray/03-01-09-01-01-01-{actor:02}" for actor in range(1, 8)]
    assert len(usable(read_ravdess(ravdess_with(tmp_path, *strays[:6])))) == 120  # 6 of 126
    message = (
        "7 of 127 .* RAVDESS, want at most 5%; stray/03-01-09-01-01-01-01.wav: "
        "emotion .*got 09, want 01 02 03 04 05 06 07 08.* Bangla"
    )
    with pytest.raises(ValueError, match=message):
        read_ravdess(ravdess_with(tmp_path, *strays))


def test_names_that_do_not_parse_are_no_reason_to_refuse(tmp_path):
    rows = read_ravdess(ravdess_with(tmp_path, *(f"notes/{n}" for n in range(60))))
    assert len(usable(rows)) == 120


# TESS


def test_tess_columns(tmp_path):
    (row,) = tess.read(make(tmp_path, ["YAF_sad/YAF_youth_sad"]))
    assert row == {
        "clip": "YAF_youth_sad",
        "file": "YAF_sad/YAF_youth_sad.wav",
        "speaker": "YAF",
        "sex": "female",
        "age": "26",
        "language": "en",
        "emotion": "sad",
        "sentence": "youth",
    }


@pytest.mark.parametrize("suffix", ["ps", "pleasant_surprise", "pleasant_surprised", "PS"])
def test_tess_pleasant_surprise(tmp_path, suffix):
    (row,) = tess.read(make(tmp_path, [f"YAF_back_{suffix}"]))
    assert (row["clip"], row["emotion"], row["sentence"]) == ("YAF_back_ps", "surprise", "back")


def test_tess_one_word_has_one_code(tmp_path):
    rows = tess.read(make(tmp_path, ["OAF_back_sad", "YAF_Back_ps"]))
    assert {row["sentence"] for row in rows} == {"back"}


@pytest.mark.parametrize("name", ["OAF_back_bored", "YF_back_sad", "OAF_sad", "OAF_back_sad_2"])
def test_tess_other_names_do_not_parse(tmp_path, name):
    (row,) = tess.read(make(tmp_path, [name]))
    assert re.match(f"name .*: got {name}, want OAF or YAF", row["excluded"])


# CREMA-D


def test_cremad_columns(tmp_path):
    (row,) = cremad.read(make(tmp_path, ["AudioWAV/1076_IEO_HAP_MD"]))
    assert row == {
        "clip": "1076_IEO_HAP_MD",
        "file": "AudioWAV/1076_IEO_HAP_MD.wav",
        "speaker": "1076",
        "sex": "female",
        "language": "en",
        "emotion": "happy",
        "intensity": "medium",
        "sentence": "IEO",
    }


@pytest.mark.parametrize(
    ("level", "intensity"), [("LO", "low"), ("MD", "medium"), ("HI", "strong"), ("XX", "")]
)
def test_cremad_levels(tmp_path, level, intensity):
    (row,) = cremad.read(make(tmp_path, [f"1001_IEO_ANG_{level}"]))
    assert row["intensity"] == intensity


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("1000_IEO_ANG_HI", "actor .*got 1000, want 1001 to 1091"),
        ("1092_IEO_ANG_HI", "actor .*got 1092, want 1001 to 1091"),
        (
            "1001_ABC_ANG_XX",
            "sentence .*got ABC, want IEO TIE IOM IWW TAI MTI IWL ITH DFA ITS TSI WSI",
        ),
        (
            "1001_IEO_CAL_XX",
            "emotion .*got CAL, want ANG DIS FEA HAP NEU SAD",
        ),
        ("1001_IEO_ANG_ZZ", "level .*got ZZ, want LO MD HI XX X"),
    ],
)
def test_cremad_codes_outside_the_scheme_are_excluded(tmp_path, name, reason):
    row = row_of(cremad.read, make(tmp_path, ["1001_IEO_ANG_HI", name]), name)
    assert row["clip"] == name and re.fullmatch(reason, row["excluded"])


def test_cremad_has_48_men_and_43_women(tmp_path):
    rows = cremad.read(make(tmp_path, [f"{actor}_DFA_NEU_XX" for actor in range(1001, 1092)]))
    assert Counter(row["sex"] for row in rows) == {"male": 48, "female": 43}
    assert all("age" not in row for row in rows)


@pytest.mark.parametrize("folder", [".", "CREMA-D"])
def test_cremad_demographics_give_age_and_sex(tmp_path, folder):
    root = make(tmp_path, [f"{folder}/AudioWAV/{actor}_DFA_NEU_XX" for actor in (1001, 1002, 1003)])
    (root / folder / "VideoDemographics.csv").write_text(
        '"ActorID","Age","Sex","Race","Ethnicity"\n'
        '1001,51,"Male","Caucasian","Not Hispanic"\n'
        '1002,21,"Female","Caucasian","Not Hispanic"\n'
    )
    rows = cremad.read(root)
    assert [(row["sex"], row.get("age", "")) for row in rows] == [
        ("male", "51"),
        ("female", "21"),
        ("female", ""),
    ]


def test_cremad_demographics_with_odd_rows(tmp_path):
    """Actors without clips, empty cells, other spellings, a byte order mark as Excel writes."""
    root = make(tmp_path, [f"AudioWAV/{actor}_DFA_NEU_XX" for actor in range(1001, 1006)])
    (root / "VideoDemographics.csv").write_bytes(
        b"\xef\xbb\xbfActorID,Age,Sex,Race\r\n"
        b"1001,,Male,x\r\n 1002 ,21.0,f,x\r\n1003,unknown,?,x\r\n1005, 38,MALE ,x\r\n"
        b"2000,50,Male,x\r\n\r\n"
    )
    rows = cremad.read(root)
    assert [(row["speaker"], row["sex"], row.get("age", "")) for row in rows] == [
        ("1001", "male", ""),
        ("1002", "female", "21"),
        ("1003", "female", ""),
        ("1004", "female", ""),
        ("1005", "male", "38"),
    ]


def test_cremad_demographics_without_a_column_are_refused(tmp_path):
    root = make(tmp_path, ["AudioWAV/1001_DFA_NEU_XX"])
    (root / "VideoDemographics.csv").write_text("ActorID,Sex\n1001,Male\n")
    with pytest.raises(ValueError, match="columns ActorID, Sex, want ActorID, Age, Sex"):
        cremad.read(root)


def test_cremad_mp3_gives_way_to_wav(tmp_path):
    make(tmp_path, ["AudioWAV/1001_DFA_NEU_XX"])
    make(tmp_path, ["AudioMP3/1001_DFA_NEU_XX", "AudioMP3/1002_DFA_NEU_XX"], suffix=".mp3")
    rows = cremad.read(tmp_path)
    assert [row["file"] for row in usable(rows)] == [
        "AudioMP3/1002_DFA_NEU_XX.mp3",
        "AudioWAV/1001_DFA_NEU_XX.wav",
    ]
    assert re.match("lossy copy: got AudioMP3, .*1001_DFA_NEU_XX.*AudioWAV", rows[0]["excluded"])
    assert len({row["clip"] for row in rows}) == 3


# SAVEE


def test_savee_columns(tmp_path):
    (row,) = savee.read(make(tmp_path, ["AudioData/JK/su09"]))
    assert row == {
        "clip": "JK_su09",
        "file": "AudioData/JK/su09.wav",
        "speaker": "JK",
        "sex": "male",
        "language": "en",
        "emotion": "surprise",
        "sentence": "su09",
    }


@pytest.mark.parametrize("name", ["AudioData/DC/a01", "DC/a01", "ALL/DC_a01", "DC_a01"])
def test_savee_layouts_give_one_name(tmp_path, name):
    (row,) = savee.read(make(tmp_path, [name]))
    assert (row["clip"], row["speaker"], row["emotion"]) == ("DC_a01", "DC", "angry")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("DC_a16", "number .*got 16, want 01 to 15"),
        ("DC_a00", "number .*got 00, want 01 to 15"),
        ("DC_n31", "number .*got 31, want 01 to 30"),
    ],
)
def test_savee_numbers_outside_the_scheme_are_excluded(tmp_path, name, reason):
    (row,) = savee.read(make(tmp_path, [name]))
    assert row["clip"] == name and re.fullmatch(reason, row["excluded"])


@pytest.mark.parametrize("name", ["XX/a01", "a01", "DC/s01", "DC_b01", "DC/a1"])
def test_savee_other_names_do_not_parse(tmp_path, name):
    (row,) = savee.read(make(tmp_path, [name]))
    assert re.match(f"name .*: got {name}, want speaker", row["excluded"])


def test_savee_sentences(tmp_path):
    rows = savee.read(make(tmp_path, list(savee_names(("DC",), layout="{speaker}_{name}"))))
    clips = {row["clip"].removeprefix("DC_"): row["sentence"] for row in rows}
    for number in ("01", "02", "03"):
        common = {clips[f"{code}{number}"] for code in ("a", "d", "f", "h", "n", "sa", "su")}
        assert common == {f"common{number}"} == {clips[f"n{int(number) + 15}"]}
    assert (clips["n19"], clips["n24"], clips["n27"], clips["n30"]) == ("a04", "f05", "sa04", "h05")
    # 3 common sentences, and 12 others (2 specific, 10 generic) for each of the 7 emotions
    counts = Counter(clips.values())
    assert len(counts) == 3 + 12 * 7
    assert Counter(counts.values()) == {1: 10 * 7 + 2, 2: 2 * 6, 8: 3}


# EMO-DB


def test_emodb_columns(tmp_path):
    (row,) = read_emodb(make(tmp_path, ["wav/16b10Td"]))
    assert row == {
        "clip": "16b10Td",
        "file": "wav/16b10Td.wav",
        "speaker": "16",
        "sex": "female",
        "age": "31",
        "language": "de",
        "emotion": "sad",
        "sentence": "b10",
        "take": "d",
    }


def test_emodb_sex_does_not_follow_from_odd_and_even_numbers(tmp_path):
    speakers = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
    rows = read_emodb(make(tmp_path, [f"{speaker}a01Na" for speaker in speakers]))
    men = {row["speaker"] for row in rows if row["sex"] == "male"}
    women = {row["speaker"] for row in rows if row["sex"] == "female"}
    assert men == {"03", "10", "11", "12", "15"}
    assert women == {"08", "09", "13", "14", "16"}


@pytest.mark.parametrize(
    ("letter", "emotion"), [("A", "fear"), ("L", "boredom"), ("T", "sad"), ("F", "happy")]
)
def test_emodb_letters_are_german(tmp_path, letter, emotion):
    (row,) = read_emodb(make(tmp_path, [f"03a01{letter}a"]))
    assert row["emotion"] == emotion


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "01a01Wa",
            "speaker .*got 01, want 03 08 09 10 11 12 13 14 15 16",
        ),
        (
            "03c01Wa",
            "text .*got c01, want a01 a02 a04 a05 a07 b01 b02 b03 b09 b10",
        ),
    ],
)
def test_emodb_codes_outside_the_scheme_are_excluded(tmp_path, name, reason):
    (row,) = read_emodb(make(tmp_path, [name]))
    assert row["clip"] == name and re.fullmatch(reason, row["excluded"])


@pytest.mark.parametrize("name", ["03a01Xa", "03a01wa", "3a01Wa", "amused_57-84_0057"])
def test_emodb_other_names_do_not_parse(tmp_path, name):
    row = row_of(read_emodb, make(tmp_path, ["03a01Wa", name]), name)
    assert re.match(f"name .*: got {name}, want speaker", row["excluded"])


def test_emodb_version_2_is_told_apart_by_names(tmp_path):
    more = ["wav/03a01Wz", "wav/16b10Ax"]
    root = make(tmp_path, [f"wav/{name}" for name in emodb.names()] + more)
    (root / "wav" / "notes.wav").touch()
    rows = by_file(read_emodb(root))
    used = [row for row in rows.values() if not row.get("excluded")]
    assert len(used) == 535 and {row["clip"] for row in used} == set(emodb.names())
    for name in more:
        assert re.match("of version 2.0: got .*; .*reader.version=2", rows[name]["excluded"])
        assert rows[name]["emotion"]
    rows = by_file(reader("emodb", version=2)(root))
    assert not any(rows[name].get("excluded") for name in more) and len(rows) == 538
    with pytest.raises(ValueError, match="emodb.reader.version: got 3, want 1 or 2"):
        reader("emodb", version=3)(root)


# EmoV-DB


def test_emovdb_columns(tmp_path):
    (row,) = emovdb.read(make(tmp_path, ["bea_Sleepy/sleepiness_1-28_0015"]))
    assert row == {
        "clip": "bea_sleepy_1-28_0015",
        "file": "bea_Sleepy/sleepiness_1-28_0015.wav",
        "speaker": "bea",
        "sex": "female",
        "language": "en",
        "emotion": "sleepy",
        "sentence": "0015",
    }


@pytest.mark.parametrize(
    ("name", "speaker", "emotion", "sentence"),
    [
        ("jenie_Disgusted/Disgust_1-28_0007", "jenie", "disgust", "0007"),
        ("jenie/aud_am/amused_57-84_0666", "jenie", "amused", ""),
        ("sam/Angry/ANGER_336-364_0349", "sam", "angry", "0349"),
        ("bea/anger_1-28_0001", "bea", "angry", "0001"),
        ("all/josh_neutral_1-28_23", "josh", "neutral", "0023"),
        ("bea_Angry/bea_Angry/wav/anger_1-28_0001", "bea", "angry", "0001"),
        ("sam/bea_Angry/anger_1-28_0001", "bea", "angry", "0001"),
        ("JOSH_Neutral/Neutral_1-28_0023 (2)", "josh", "neutral", ""),
        ("josh_Sleepy/sleepiness_1-28_0000", "josh", "sleepy", ""),
    ],
)
def test_emovdb_spellings_and_layouts(tmp_path, name, speaker, emotion, sentence):
    (row,) = emovdb.read(make(tmp_path, [name]))
    got = (row["speaker"], row["emotion"], row["sentence"], row.get("excluded", ""))
    assert got == (speaker, emotion, sentence, "")


def test_emovdb_file_in_the_folder_of_another_emotion_is_excluded(tmp_path):
    (row,) = emovdb.read(make(tmp_path, ["bea_Amused/anger_1-28_0001"]))
    assert re.match("emotion unclear: got anger .* Amused", row["excluded"])
    assert "emotion" not in row


@pytest.mark.parametrize("name", ["amused_57-84_0057", "mia_Amused/amused_1-28_0001", "bea/x_1"])
def test_emovdb_other_names_do_not_parse(tmp_path, name):
    (row,) = emovdb.read(make(tmp_path, [name]))
    assert re.match(f"name .*: got {name}, want speaker", row["excluded"])


# BanglaSER


def test_banglaser_columns(tmp_path):
    names = banglaser_names(("33", "34"))
    row = row_of(banglaser.read, make(tmp_path, list(names)), "Actor 34/03-01-04-02-03-01-34")
    assert row == {
        "clip": "03-01-04-02-03-01-34",
        "file": "Actor 34/03-01-04-02-03-01-34.wav",
        "speaker": "34",
        "sex": "female",
        "language": "bn",
        "emotion": "surprise",
        "intensity": "strong",
        "sentence": "03",
        "take": "01",
    }


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("03-02-01-01-01-01-01", "type .*got 02, want 01"),
        ("03-01-06-01-01-01-01", "emotion .*got 06, want 01 02 03 04 05"),
        ("03-01-01-01-04-01-01", "statement .*got 04, want 01 02 03"),
        ("03-01-01-01-01-01-35", "actor .*got 35, want 01 to 34"),
    ],
)
def test_banglaser_codes_outside_the_scheme_are_excluded(tmp_path, name, reason):
    root = make(tmp_path, [*banglaser_names(("33", "34")), name])
    row = row_of(banglaser.read, root, name)
    assert (row["clip"], row["emotion"]) == (name, "")
    assert re.fullmatch(reason, row["excluded"])
