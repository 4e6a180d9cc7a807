"""A corpus compared with its release: clips found, missing and surplus, and the message."""

import sys
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

from stages import prepare
from stages.clips.completeness import Release, compare_release, log_completeness, read_release
from stages.settings.loading import bind
from tests.support import AUDIO, ROOT, composed

CORPORA = sorted(path.stem for path in (ROOT / "conf/corpora").glob("*.yaml"))
SETTINGS = composed(f"corpora=[{','.join(CORPORA)}]")["corpora"]
RELEASED = [name for name, settings in SETTINGS.items() if settings["release"]]
NAMED = [name for name in RELEASED if SETTINGS[name]["release"]["names"]]
#: Two speakers, each with one angry clip and two sad ones.
NAMES = [f"{speaker}_{clip}" for speaker in "12" for clip in ("angry", "sad_a", "sad_b")]
RELEASE = Release(clips=6, emotions={"angry": 2, "sad": 4}, speakers={"1": 3, "2": 3}, names=NAMES)
UNNAMED = Release(clips=6, emotions={"angry": 2, "sad": 4}, speakers=2, names=None)
TOTAL = Release(clips=6, emotions=None, speakers=2, names=None)


def row(name, *, corpus="x", excluded="", **facts):
    """A row of a clip table with the facts in a name such as 1_sad_a."""
    speaker, emotion, *_ = name.split("_")
    clip = f"{corpus}/{name}"
    return {
        "clip": clip,
        "source": clip,
        "variant": "clean",
        "corpus": corpus,
        "file": f"{name}.wav",
        "speaker": f"{corpus}/{speaker}",
        "emotion": emotion,
        "excluded": excluded,
    } | facts


def copy(file, **facts):
    return row("1_sad_a", file=file, **facts)


def table(*rows):
    return pd.DataFrame([row(given) if isinstance(given, str) else given for given in rows])


def figures(clips, release=RELEASE):
    """Return the number of clips found, missing, surplus and unusable."""
    result = compare_release(clips, release=release)
    assert result.found + result.missing == result.expected == release.clips
    for table in (result.emotions, result.speakers):
        assert (table["found"].sum(), table["surplus"].sum()) == (result.found, result.surplus)
    return result.found, result.missing, result.surplus, result.unusable


# The configured releases


@pytest.mark.parametrize("corpus", RELEASED)
def test_numbers_of_a_release_agree_with_each_other(corpus):
    release = read_release(SETTINGS[corpus]["release"])
    for counts in (release.emotions, release.speakers):
        if isinstance(counts, dict):
            assert sum(counts.values()) == release.clips


@pytest.mark.parametrize("corpus", NAMED)
def test_the_reader_finds_a_release_of_these_names_complete(corpus, tmp_path):
    release = read_release(SETTINGS[corpus]["release"])
    assert len(release.names) == len(set(release.names)) == release.clips
    for name in release.names:
        (tmp_path / f"{name}.wav").touch()
    rows = bind(SETTINGS[corpus]["reader"], "corpora")(tmp_path)
    clips = pd.DataFrame(rows).assign(variant="clean", corpus=corpus, excluded="")
    for column in ("clip", "speaker"):
        clips[column] = f"{corpus}/" + clips[column]
    result = compare_release(clips.assign(source=clips["clip"]), release=release)
    assert (result.found, result.missing, result.surplus, result.unusable) == (
        release.clips,
        0,
        0,
        0,
    )
    assert not result.emotions["missing"].any() and not result.speakers["missing"].any()
    assert not result.missing_names and not result.surplus_names


def test_listed_names_are_those_of_the_corpus():
    disgust = Counter(
        n[:2] for n in read_release(SETTINGS["emodb"]["release"]).names if n[5] == "E"
    )
    assert disgust["08"] == 0 and disgust["03"] == disgust["10"] == 1
    words = {name.split("_")[1] for name in read_release(SETTINGS["tess"]["release"]).names}
    assert len(words) == 200 and {"back", "food", "germ", "youth"} <= words


def test_no_release_is_none():
    assert read_release(None) is None


# Counts


def test_a_complete_corpus():
    assert figures(table(*NAMES)) == figures(table(*NAMES), UNNAMED) == (6, 0, 0, 0)


def test_missing_and_surplus_by_name_emotion_and_speaker():
    result = compare_release(table(*NAMES[2:], "2_angry_b", "3_calm"), release=RELEASE)
    assert (result.found, result.missing, result.surplus, result.unusable) == (4, 2, 2, 0)
    assert result.missing_names == ["1_angry", "1_sad_a"]
    assert result.surplus_names == ["2_angry_b", "3_calm"]
    columns = ["found", "expected", "missing", "surplus"]
    assert result.emotions[columns].T.to_dict("list") == {
        "angry": [1, 2, 1, 1],
        "calm": [0, 0, 0, 1],
        "sad": [3, 4, 1, 0],
    }
    assert result.speakers[columns].T.to_dict("list") == {
        "1": [1, 3, 2, 0],
        "2": [3, 3, 0, 1],
        "3": [0, 0, 0, 1],
    }
    assert (result.found_speakers, result.expected_speakers) == (2, 2)


def test_without_names_emotions_are_counted():
    clips = table("1_angry", "1_angry_b", "1_angry_c", "1_sad_a")
    result = compare_release(clips, release=UNNAMED)
    assert (result.found, result.missing, result.surplus) == (3, 3, 1)
    assert result.emotions["missing"].to_dict() == {"angry": 0, "sad": 3}
    assert result.emotions["surplus"].to_dict() == {"angry": 1, "sad": 0}
    assert not result.missing_names and not result.surplus_names
    assert result.speakers["expected"].isna().all()
    assert (result.found_speakers, result.expected_speakers) == (1, 2)


def test_with_a_total_only_all_are_counted():
    assert figures(table(*NAMES, "1_calm"), TOTAL) == (6, 0, 1, 0)
    assert figures(table(*NAMES[:4]), TOTAL) == (4, 2, 0, 0)
    assert compare_release(table(*NAMES), release=TOTAL).emotions["missing"].isna().all()


@pytest.mark.parametrize("release", [RELEASE, UNNAMED, TOTAL])
@pytest.mark.parametrize(
    ("further", "want"),
    [
        # unusable: found, and counted as unusable
        (row("2_sad_b", excluded="silent: peak 0.0002, want over 0.001"), (6, 0, 0, 1)),
        (row("2_sad_b", excluded="Git LFS pointer: fetch the audio itself"), (6, 0, 0, 1)),
        (row("2_sad_b", excluded="same recording as: x/2_sad_a (sad)"), (6, 0, 0, 1)),
        # a duplicate that is used
        (row("2_sad_b", source="x/2_sad_a"), (6, 0, 0, 0)),
        # further copies of a clip that was found
        (copy("b/1.wav", clip="x/b/1.wav", excluded="truncated: 9"), (5, 1, 0, 0)),
        (copy("b/1.wav", clip="x/b/1.wav", excluded="second copy: named like 1"), (5, 1, 0, 0)),
        (copy("b/1.mp3", clip="x/b/1", excluded="lossy copy: got AudioMP3"), (5, 1, 0, 0)),
        # a file that is no clip of any corpus
        (row("9_notes", emotion="", excluded="name does not parse: got notes"), (5, 1, 0, 0)),
        # a training variant
        (row("1_sad_a#noise", source="x/1_sad_a", variant="noise"), (5, 1, 0, 0)),
    ],
)
def test_a_clip_counts_as_found_if_its_file_exists(release, further, want):
    assert figures(table(*NAMES[:5], further), release) == want


def test_a_song_does_not_count_unless_it_is_used_and_is_surplus_then():
    for excluded, surplus in (("song, not speech", 0), ("", 1)):
        clips = table(*NAMES, row("1_sad_song", excluded=excluded))
        assert figures(clips) == (6, 0, surplus, 0)


@pytest.mark.parametrize("release", [RELEASE, UNNAMED])
def test_the_segments_of_a_recording_count_as_one_clip(release):
    segments = [
        row(f"1_sad_a{end}", source="x/1_sad_a+01", file="1_sad_a.wav", excluded=excluded)
        for end, excluded in (("+01", "silent: peak 0"), ("+02", ""), ("+03", "silent: peak 0"))
    ]
    assert figures(table("1_angry", "1_sad_b", *segments, *NAMES[3:]), release) == (6, 0, 0, 0)


# Messages


def logged(caplog, clips, release):
    caplog.clear()
    with caplog.at_level("INFO"):
        log_completeness(clips, corpus="x", release=release)
    (record,) = caplog.records
    return record.levelname, record.getMessage()


def test_a_complete_corpus_is_called_complete(caplog):
    message = "x: complete: 6 clips found, 6 expected, 0 missing, 0 surplus"
    assert logged(caplog, table(*NAMES), RELEASE) == ("INFO", message)
    broken = table(*NAMES[:5], row(NAMES[5], excluded="silent: peak 0"))
    level, longer = logged(caplog, broken, RELEASE)
    assert level == "INFO" and longer.startswith(f"{message}, 1 of ")


def test_a_partial_corpus_is_called_partial_and_missing_clips_are_named(caplog):
    level, message = logged(caplog, table("2_angry", "2_sad_a", "3_sad"), RELEASE)
    assert level == "WARNING" and message.startswith("x: partial")
    counts = "2 clips found, 6 expected, 4 missing (1_angry, 1_sad_a, 1_sad_b, 2_sad_b), "
    assert message.endswith(f"{counts}1 surplus (3_sad), 1 of 2 speakers")


def test_at_most_ten_missing_names_are_listed(caplog):
    names = [f"1_sad_{number:02}" for number in range(40)]
    release = Release(clips=40, emotions={"sad": 40}, speakers={"1": 40}, names=names)
    _, message = logged(caplog, table(*names[:5]), release)
    assert f"35 missing ({', '.join(names[5:15])} and 25 more), 0 surplus" in message
    _, message = logged(caplog, table(*names[:30]), release)
    assert f"10 missing ({', '.join(names[30:])}), 0 surplus" in message


def test_missing_clips_are_listed_by_emotion_if_names_are_not_known(caplog):
    _, message = logged(caplog, table("1_angry", "1_sad_a", "2_sad_a"), UNNAMED)
    assert "3 missing (angry 1, sad 2), 0 surplus" in message and "speakers" not in message
    _, message = logged(caplog, table("1_angry", "2_sad_a"), TOTAL)
    assert "4 missing, 0 surplus" in message


@pytest.mark.parametrize(("data", "partial"), [("real", True), ("demo", False)])
def test_prepare_compares_real_corpora_and_not_the_demo(
    data, partial, tmp_path, monkeypatch, caplog
):
    (tmp_path / "raw/emodb").mkdir(parents=True)
    noise = np.random.default_rng(0).normal(0, 0.1, (2, 8000))
    for name, samples in zip(("03a01Fa", "03a01Wa"), noise, strict=True):
        soundfile.write(tmp_path / f"raw/emodb/{name}.wav", samples, 16000)
    params = composed() | {
        "data": {"name": data, "root": str(tmp_path / "raw")},
        "corpora": {"emodb": SETTINGS["emodb"]},
        "audio": composed()["audio"] | AUDIO,
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["prepare", "emodb"])
    with caplog.at_level("INFO"):
        prepare.main()
    assert "emodb: 2 clips of 1 speakers" in caplog.text
    assert ("2 clips found, 535 expected" in caplog.text) == partial
    assert ("partial" in caplog.text) == partial
