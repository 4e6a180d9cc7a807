"""What the corpus readers make of official file names, and of the names that trap."""

import importlib
import itertools
from collections import Counter
from pathlib import Path

import pytest

from stages.clips.table import DESCRIPTION, EMOTIONS
from stages.corpora import cremad, emodb, ravdess, savee, tess

CONF = Path(__file__).parents[1] / "conf" / "corpora"
NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))
WORDS = ("back", "bar", "base", "bath", "bean", "beg", "bite", "yes", "young", "youth")


def make(root: Path, names: list[str], *, suffix: str = ".wav") -> Path:
    """Empty files of these names: readers look at names alone."""
    for name in names:
        path = root / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def by_file(rows: list[dict]) -> dict[str, dict]:
    return {row["file"].rpartition(".")[0]: row for row in rows}


def usable(rows: list[dict]) -> list[dict]:
    return [row for row in rows if not row.get("excluded")]


def one(read, root: Path, name: str) -> dict:
    """The row of one file among those of a folder."""
    return by_file(read(root))[name]


# Official names, spelled out here once more and not taken from the readers


def ravdess_names(actors: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    emotions = ("neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise")
    names = {}
    for actor, (code, emotion) in itertools.product(actors, enumerate(emotions, 1)):
        for level, statement, take in itertools.product((1, 2), repeat=3):
            if emotion == "neutral" and level == 2:
                continue
            name = f"Actor_{actor}/03-01-{code:02}-{level:02}-{statement:02}-{take:02}-{actor}"
            names[name] = (emotion, actor)
    return names


def tess_names() -> dict[str, tuple[str, str]]:
    emotions = ("angry", "disgust", "fear", "happy", "neutral", "sad")
    names = {
        f"{actress}_{emotion}/{actress}_{word}_{emotion}": (emotion, actress)
        for actress, emotion, word in itertools.product(("OAF", "YAF"), emotions, WORDS)
    }
    for word in WORDS:
        names[f"OAF_Pleasant_surprise/OAF_{word}_ps"] = ("surprise", "OAF")
        names[f"YAF_pleasant_surprised/YAF_{word}_ps"] = ("surprise", "YAF")
    return names


def cremad_names(actors: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    emotions = {
        "ANG": "angry",
        "DIS": "disgust",
        "FEA": "fear",
        "HAP": "happy",
        "NEU": "neutral",
        "SAD": "sad",
    }
    sentences = "DFA IEO IOM ITH ITS IWL IWW MTI TAI TIE TSI WSI"
    names = {}
    for actor, sentence, code in itertools.product(actors, sentences.split(), emotions):
        levels = ("LO", "MD", "HI") if sentence == "IEO" and code != "NEU" else ("XX",)
        for level in levels:
            names[f"AudioWAV/{actor}_{sentence}_{code}_{level}"] = (emotions[code], actor)
    return names


def savee_names(speakers: tuple[str, ...], *, layout: str) -> dict[str, tuple[str, str]]:
    emotions = {
        "a": "angry",
        "d": "disgust",
        "f": "fear",
        "h": "happy",
        "n": "neutral",
        "sa": "sad",
        "su": "surprise",
    }
    return {
        layout.format(speaker=speaker, name=f"{code}{number:02}"): (emotion, speaker)
        for speaker in speakers
        for code, emotion in emotions.items()
        for number in range(1, 31 if code == "n" else 16)
    }


def emodb_names(speakers: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    emotions = {
        "W": "angry",
        "L": "boredom",
        "E": "disgust",
        "A": "fear",
        "F": "happy",
        "T": "sad",
        "N": "neutral",
    }
    texts = ("a01", "a02", "a04", "a05", "a07", "b01", "b02", "b03", "b09", "b10")
    return {
        f"wav/{speaker}{text}{letter}{version}": (emotions[letter], speaker)
        for speaker, text, letter, version in itertools.product(speakers, texts, emotions, "abcdef")
    }


@pytest.mark.parametrize(
    ("read", "names", "sexes", "language", "number"),
    [
        (
            ravdess.read,
            ravdess_names(("11", "12")),
            {"11": "male", "12": "female"},
            "en",
            120,
        ),
        (tess.read, tess_names(), {"OAF": "female", "YAF": "female"}, "en", 140),
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
        (
            emodb.read,
            emodb_names(("08", "11")),
            {"08": "female", "11": "male"},
            "de",
            840,
        ),
    ],
    ids=["ravdess", "tess", "cremad", "savee-folders", "savee-flat", "emodb"],
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
        (ravdess.read, "03-01-06-01-02-01-12"),
        (tess.read, "OAF_back_angry"),
        (cremad.read, "1001_IEO_ANG_HI"),
        (savee.read, "DC_a01"),
        (emodb.read, "03a01Wa"),
    ],
)
def test_suffix_and_depth_do_not_matter(tmp_path, read, stem):
    make(tmp_path / "some" / "where", [stem], suffix=".FLAC")
    (row,) = read(tmp_path)
    assert row["clip"] == stem
    assert row["file"] == f"some/where/{stem}.FLAC"
    assert row.get("excluded", "") == ""


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_does_not_parse_keeps_its_row(tmp_path, name):
    read = importlib.import_module(f"stages.corpora.{name}").read
    (row,) = read(make(tmp_path, ["notes/recording_of_the_room"]))
    assert row["clip"] == "notes/recording_of_the_room"
    assert row["excluded"].startswith("name does not parse: got notes/recording_of_the_room, want ")


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_says_how_to_get_its_corpus(name):
    lines = importlib.import_module(f"stages.corpora.{name}").HOW_TO_GET.splitlines()
    assert 2 <= len(lines) <= 4
    assert "http" in lines[0]
    assert any(f"{name}/" in line for line in lines[1:])


# RAVDESS


def ravdess_with(root: Path, *names: str) -> Path:
    """Stray names among the 120 of two actors."""
    return make(root, [*ravdess_names(("11", "12")), *names])


def test_ravdess_columns(tmp_path):
    row = one(ravdess.read, ravdess_with(tmp_path), "Actor_12/03-01-06-02-02-01-12")
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
    rows = ravdess.read(make(tmp_path, [f"03-01-01-01-01-01-{n:02}" for n in range(1, 25)]))
    sexes = {row["speaker"]: row["sex"] for row in rows}
    assert sexes == {f"{n:02}": "male" if n in range(1, 24, 2) else "female" for n in range(1, 25)}


def test_ravdess_song_is_not_speech(tmp_path):
    songs = [name.replace("/03-01-", "/03-02-") for name in ravdess_names(("11", "12"))]
    rows = ravdess.read(ravdess_with(tmp_path, *songs))
    assert Counter(row["excluded"] for row in rows) == {"": 120, "song, not speech": 120}
    assert all("/03-01-" in row["file"] for row in usable(rows))


@pytest.mark.parametrize("modality", ["01", "02"])
def test_ravdess_sound_of_videos_is_excluded(tmp_path, modality):
    videos = [name.replace("/03-01-", f"/{modality}-01-") for name in ravdess_names(("11", "12"))]
    rows = ravdess.read(ravdess_with(tmp_path, *videos))
    reason = f"sound of a video file: got modality {modality}, want 03"
    assert Counter(row["excluded"] for row in rows) == {"": 120, reason: 120}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("04-01-03-01-01-01-11", "modality outside the scheme: got 04, want 01 02 03"),
        ("03-03-03-01-01-01-11", "channel outside the scheme: got 03, want 01 02"),
        (
            "03-01-09-01-01-01-11",
            "emotion outside the scheme: got 09, want 01 02 03 04 05 06 07 08",
        ),
        (
            "03-01-00-01-01-01-11",
            "emotion outside the scheme: got 00, want 01 02 03 04 05 06 07 08",
        ),
        ("03-01-03-03-01-01-11", "intensity outside the scheme: got 03, want 01 02"),
        ("03-01-03-01-03-01-11", "statement outside the scheme: got 03, want 01 02"),
        ("03-01-03-01-01-03-11", "repetition outside the scheme: got 03, want 01 02"),
        ("03-01-03-01-01-01-25", "actor outside the scheme: got 25, want 01 to 24"),
        ("03-01-03-01-01-01-00", "actor outside the scheme: got 00, want 01 to 24"),
        (
            "03-01-01-02-01-01-11",
            "intensity outside the scheme: got 02 (strong) with neutral, want 01",
        ),
    ],
)
def test_ravdess_codes_outside_the_scheme_are_excluded(tmp_path, name, reason):
    rows = ravdess.read(ravdess_with(tmp_path, name))
    assert len(usable(rows)) == 120
    row = by_file(rows)[name]
    assert (row["clip"], row["emotion"], row["excluded"]) == (name, "", reason)


def test_ravdess_names_without_all_fields_do_not_parse(tmp_path):
    row = one(ravdess.read, ravdess_with(tmp_path, "03-01-03-01-01-01"), "03-01-03-01-01-01")
    assert row["excluded"].startswith("name does not parse: got 03-01-03-01-01-01, want seven")


def test_ravdess_nested_second_copy_has_the_same_names(tmp_path):
    nested = [f"audio_speech_actors_01-24/{name}" for name in ravdess_names(("11", "12"))]
    rows = ravdess.read(ravdess_with(tmp_path, *nested))
    assert set(Counter(row["clip"] for row in rows).values()) == {2}


def test_banglaser_is_refused(tmp_path):
    names = [
        f"Actor_{actor:02}/03-01-{emotion:02}-{level:02}-{statement:02}-{take:02}-{actor:02}"
        for actor in (1, 2)
        for emotion, level in ((1, 1), (2, 1), (3, 2), (4, 2), (5, 1))
        for statement in (1, 2, 3)
        for take in (1, 2, 3)
    ]
    message = (
        "50 of 90 names break the scheme of RAVDESS, want at most one in 20; "
        "Actor_01/03-01-01-01-01-03-01.wav: repetition outside the scheme: got 03, want 01 02. "
        "This looks like BanglaSER"
    )
    with pytest.raises(ValueError, match=message):
        ravdess.read(make(tmp_path, names))


def test_ravdess_refuses_above_one_in_twenty(tmp_path):
    strays = [f"stray/03-01-09-01-01-01-{actor:02}" for actor in range(1, 8)]
    assert len(usable(ravdess.read(ravdess_with(tmp_path, *strays[:6])))) == 120  # 6 of 126
    with pytest.raises(ValueError, match="7 of 127 names"):
        ravdess.read(ravdess_with(tmp_path, *strays))


def test_names_that_do_not_parse_are_no_reason_to_refuse(tmp_path):
    rows = ravdess.read(ravdess_with(tmp_path, *(f"notes/{n}" for n in range(60))))
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


def test_tess_the_file_without_f_is_the_older_actress(tmp_path):
    (row,) = tess.read(make(tmp_path, ["OAF_neutral/OA_bite_neutral"]))
    assert (row["clip"], row["speaker"], row["age"]) == ("OAF_bite_neutral", "OAF", "64")
    assert row["file"] == "OAF_neutral/OA_bite_neutral.wav"


@pytest.mark.parametrize(
    ("name", "emotion"),
    [
        ("OAF_happy/OAF_back_sad", "sad"),
        ("OAF_Fear/OAF_back_fear", "fear"),
        ("YAF_angry/OAF_back_FEAR", "fear"),
        ("oaf_back_Angry", "angry"),
    ],
)
def test_tess_emotion_is_the_suffix_whatever_case_and_folder(tmp_path, name, emotion):
    (row,) = tess.read(make(tmp_path, [name]))
    assert (row["emotion"], row["speaker"]) == (emotion, "OAF")


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
    assert row["excluded"].startswith(f"name does not parse: got {name}, want OAF or YAF")


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


def test_cremad_name_of_an_older_copy(tmp_path):
    (row,) = cremad.read(make(tmp_path, ["AudioWAV/1040_ITH_SAD_X"]))
    assert (row["clip"], row["intensity"]) == ("1040_ITH_SAD_XX", "")
    assert row.get("excluded", "") == ""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("1000_IEO_ANG_HI", "actor outside the scheme: got 1000, want 1001 to 1091"),
        ("1092_IEO_ANG_HI", "actor outside the scheme: got 1092, want 1001 to 1091"),
        (
            "1001_ABC_ANG_XX",
            "sentence outside the scheme: got ABC, "
            "want IEO TIE IOM IWW TAI MTI IWL ITH DFA ITS TSI WSI",
        ),
        (
            "1001_IEO_CAL_XX",
            "emotion outside the scheme: got CAL, want ANG DIS FEA HAP NEU SAD",
        ),
        ("1001_IEO_ANG_ZZ", "level outside the scheme: got ZZ, want LO MD HI XX X"),
    ],
)
def test_cremad_codes_outside_the_scheme_are_excluded(tmp_path, name, reason):
    row = one(cremad.read, make(tmp_path, ["1001_IEO_ANG_HI", name]), name)
    assert (row["clip"], row["excluded"]) == (name, reason)


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


def test_cremad_demographics_without_a_column_are_refused(tmp_path):
    root = make(tmp_path, ["AudioWAV/1001_DFA_NEU_XX"])
    (root / "VideoDemographics.csv").write_text("ActorID,Sex\n1001,Male\n")
    with pytest.raises(ValueError, match="got columns ActorID, Sex, want ActorID, Age, Sex"):
        cremad.read(root)


def test_cremad_mp3_gives_way_to_wav(tmp_path):
    make(tmp_path, ["AudioWAV/1001_DFA_NEU_XX"])
    make(tmp_path, ["AudioMP3/1001_DFA_NEU_XX", "AudioMP3/1002_DFA_NEU_XX"], suffix=".mp3")
    rows = cremad.read(tmp_path)
    assert [row["file"] for row in usable(rows)] == [
        "AudioMP3/1002_DFA_NEU_XX.mp3",
        "AudioWAV/1001_DFA_NEU_XX.wav",
    ]
    assert rows[0]["excluded"] == (
        "lossy copy: got AudioMP3, want AudioWAV, which holds 1001_DFA_NEU_XX"
    )
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
    ("name", "emotion"), [("DC_sa05", "sad"), ("DC_su05", "surprise"), ("DC_a05", "angry")]
)
def test_savee_two_letters_before_one(tmp_path, name, emotion):
    (row,) = savee.read(make(tmp_path, [name]))
    assert row["emotion"] == emotion


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("DC_a16", "number outside the scheme: got 16, want 01 to 15"),
        ("DC_a00", "number outside the scheme: got 00, want 01 to 15"),
        ("DC_n31", "number outside the scheme: got 31, want 01 to 30"),
    ],
)
def test_savee_numbers_outside_the_scheme_are_excluded(tmp_path, name, reason):
    (row,) = savee.read(make(tmp_path, [name]))
    assert (row["clip"], row["excluded"]) == (name, reason)


@pytest.mark.parametrize("name", ["XX/a01", "a01", "DC/s01", "DC_b01", "DC/a1"])
def test_savee_other_names_do_not_parse(tmp_path, name):
    (row,) = savee.read(make(tmp_path, [name]))
    assert row["excluded"].startswith(f"name does not parse: got {name}, want speaker")


def test_savee_sentences(tmp_path):
    rows = savee.read(make(tmp_path, list(savee_names(("DC",), layout="{speaker}_{name}"))))
    clips = {row["clip"].removeprefix("DC_"): row["sentence"] for row in rows}
    for number in ("01", "02", "03"):
        common = {clips[f"{code}{number}"] for code in ("a", "d", "f", "h", "n", "sa", "su")}
        assert common == {f"common{number}"} == {clips[f"n{int(number) + 15}"]}
    assert (clips["n19"], clips["n24"], clips["n27"], clips["n30"]) == ("a04", "f05", "sa04", "h05")
    # 3 common sentences, and 2 specific and 10 generic ones of each of the 7 emotions
    counts = Counter(clips.values())
    assert len(counts) == 3 + 12 * 7
    assert Counter(counts.values()) == {1: 10 * 7 + 2, 2: 2 * 6, 8: 3}


# EMO-DB


def test_emodb_columns(tmp_path):
    (row,) = emodb.read(make(tmp_path, ["wav/16b10Td"]))
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


def test_emodb_sex_is_not_odd_and_even(tmp_path):
    speakers = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
    rows = emodb.read(make(tmp_path, [f"{speaker}a01Na" for speaker in speakers]))
    men = {row["speaker"] for row in rows if row["sex"] == "male"}
    women = {row["speaker"] for row in rows if row["sex"] == "female"}
    assert men == {"03", "10", "11", "12", "15"}
    assert women == {"08", "09", "13", "14", "16"}


@pytest.mark.parametrize(
    ("letter", "emotion"), [("A", "fear"), ("L", "boredom"), ("T", "sad"), ("F", "happy")]
)
def test_emodb_letters_are_german(tmp_path, letter, emotion):
    (row,) = emodb.read(make(tmp_path, [f"03a01{letter}a"]))
    assert row["emotion"] == emotion


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "01a01Wa",
            "speaker outside the scheme: got 01, want 03 08 09 10 11 12 13 14 15 16",
        ),
        (
            "03c01Wa",
            "text outside the scheme: got c01, want a01 a02 a04 a05 a07 b01 b02 b03 b09 b10",
        ),
    ],
)
def test_emodb_codes_outside_the_scheme_are_excluded(tmp_path, name, reason):
    (row,) = emodb.read(make(tmp_path, [name]))
    assert (row["clip"], row["excluded"]) == (name, reason)


@pytest.mark.parametrize("name", ["03a01Xa", "03a01wa", "3a01Wa", "amused_57-84_0057"])
def test_emodb_other_names_do_not_parse(tmp_path, name):
    (row,) = emodb.read(make(tmp_path, [name]))
    assert row["excluded"].startswith(f"name does not parse: got {name}, want speaker")
