"""Names as people and file systems write them: compared, escaped, and kept by every table."""

import csv
import io
import os
import unicodedata

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from app.predict import format_answers
from stages.clips.clip_table import COLUMNS, read_clips, write_clips
from stages.clips.names import escape_name, recording_of, segment_name, variant_name
from stages.clips.preparation import prepare_corpus
from stages.running.entry import printable
from stages.sources.spelling import identity, is_utf8, settle_spellings
from stages.splits.split_table import read_split, write_split
from tests.support import AUDIO

NAMES = st.text(min_size=1, max_size=8)
#: Names of which programs make something else.
TRAPS = (
    "a\rb",
    'a\n"b',
    "a,b",
    " a ",
    "NA",
    "a;b\t",
    "+05",
    "#x",
    "=1",
    "\x00",
    "\udcf6",
    "\u2028",
)


@pytest.mark.parametrize(
    "names",
    [
        ("Zoë", "zoë", "ZOË", "Zoe\u0308", " Zoë ", "Zo\u200bë", "\u2003zoë"),
        ("7", "07", "7.0", "007.", " 7", "\u0667"),
        ("Anna  Maria", "anna\u00a0maria", "ANNA MARIA"),
        ("Straße", "STRASSE"),
        ("0", "00", "0.0"),
        ("1" + 40 * "0" + "1", "01" + 40 * "0" + "1.0"),
    ],
)
def test_spellings_of_one_name(names):
    assert len(set(map(identity, names))) == 1


@pytest.mark.parametrize(
    "names",
    [
        ("Zoë", "Zoe", "Zöe"),
        ("7", "70", "0.7", "7a", "1/7", "77"),
        ("anna", "annamaria", "anna maria"),
        ("1" + 40 * "0" + "1", "1" + 40 * "0" + "2"),
    ],
)
def test_names_of_two(names):
    assert len(set(map(identity, names))) == len(names)


@given(NAMES)
def test_the_identity_of_a_name_is_that_of_all_its_forms(name):
    forms = [name, f" {name}\t", *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))]
    assert len(set(map(identity, forms))) == 1
    assert identity(identity(name)) == identity(name)


def speakers(*names, column="speaker"):
    return [{"file": f"{n}.wav", column: name} for n, name in enumerate(names)]


@pytest.mark.parametrize("column", ["speaker", "sentence"])
def test_two_spellings_are_refused_by_name_or_merged(column):
    rows = speakers("Anna", "anna", "ben", "anna", "", "7", "07", column=column)
    with pytest.raises(ValueError, match=f"x: {column}: .*'anna' and 'Anna'; '07' and '7'.*merge"):
        settle_spellings(rows, corpus="x")
    merged = settle_spellings(rows, corpus="x", spellings="merge")
    assert [row[column] for row in merged] == ["anna", "anna", "ben", "anna", "", "07", "07"]
    assert settle_spellings(merged, corpus="x") == merged
    with pytest.raises(ValueError, match="spellings: got 'keep', want refuse or merge"):
        settle_spellings(rows, corpus="x", spellings="keep")


def test_names_that_print_alike_are_told_apart():
    with pytest.raises(ValueError, match=r"'Zoe\\u0308' and 'Zoë'"):
        settle_spellings(speakers("Zoë", "Zoe\u0308"), corpus="x")


@given(NAMES | st.sampled_from(TRAPS) | st.text("%#+2530B", max_size=8))
def test_escaped_names_are_neither_segments_nor_variants(name):
    name = escape_name(printable(name)) or "a"
    assert recording_of(name) == name
    for variant in ("slow", "slow_2", "slow-2", "3"):
        assert recording_of(variant_name(name, variant)) == name
    segment = segment_name(name, 3, segments=12)
    assert recording_of(segment) == recording_of(variant_name(segment, "noise")) == name


@given(st.text("%#+2530B", max_size=9), st.text("%#+2530B", max_size=9))
def test_two_names_are_never_escaped_alike(name, other):
    assert (escape_name(name) == escape_name(other)) == (name == other)


# Tables that carry names ------------------------------------------------------------------------


def clip_table(names):
    facts = {column: "" if kind == "str" else 1 for column, kind in COLUMNS.items()}
    facts |= {"variant": "clean", "emotion": "sad", "sha256": "0" * 64}
    rows = [
        facts | dict.fromkeys(("clip", "source", "file", "speaker", "sentence"), f"x/{name}")
        for name in sorted({printable(name) for name in names})
    ]
    return pd.DataFrame(rows)


@settings(max_examples=10)
@given(st.lists(NAMES | st.sampled_from(TRAPS), min_size=1, max_size=4))
def test_the_clip_table_and_the_split_keep_every_name(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("tables")
    clips = clip_table(names)
    write_clips(clips, folder / "clips.csv")
    got = read_clips(folder / "clips.csv")
    for column in ("clip", "file", "speaker", "sentence"):
        assert set(got[column]) == set(clips[column])
    split = clips[["clip"]].assign(label="sad", **{"0": "test"})
    write_split(split, folder / "split.csv")
    assert list(read_split(folder / "split.csv")["clip"]) == list(split["clip"])


@pytest.mark.parametrize("column", ["clip", "file", "speaker", "sentence"])
@pytest.mark.parametrize("name", ["a\rb", "a\nb", "a\x00"])
def test_a_clip_table_refuses_names_that_take_two_lines(tmp_path, column, name):
    clips = clip_table(["a"]).assign(**{column: name})
    with pytest.raises(ValueError, match=f"{column}: got .*, want .* one line"):
        write_clips(clips.assign(source=clips["clip"]), tmp_path / "clips.csv")


@given(st.lists(NAMES | st.sampled_from(TRAPS), min_size=1, max_size=4))
def test_answers_as_csv_keep_every_name(names):
    answers = [{"file": name, "emotion": None if n % 2 else "sad"} for n, name in enumerate(names)]
    text = format_answers(answers, form="csv", names=["file", "emotion", "p_sad", "error"])
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["file"] for row in rows] == names


# Files with odd names ---------------------------------------------------------------------------


def test_files_with_odd_names_are_used_or_keep_a_row_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr("stages.clips.preparation.processes", lambda jobs: 1)
    names = [
        *("a\rb.wav", "a\nb.wav", 'a"b,c.wav', "a#noise.wav", "a+02.wav", "é.wav", "e\u0301.wav"),
        *("b.wav", "b.flac", "b.wav.wav", "b.wav (2).wav", "1.wav", "1.WAV"),
        os.fsdecode(b"J\xf6rg.wav"),
    ]
    rows = []
    for seed, name in enumerate(names):
        sound = np.random.default_rng(seed).normal(0, 0.1, 3200)
        path = tmp_path / name
        soundfile.write(os.fsencode(path), sound, 16000, format=path.suffix[1:].upper())
        rows.append({"clip": name.rpartition(".")[0], "file": name, "emotion": "sad"})
    for number, row in enumerate(rows):
        row["speaker"] = str(number)
    rows.append({"clip": "gone", "file": "gone.wav", "emotion": "sad", "speaker": "x"})
    clips = prepare_corpus(
        rows, corpus="toy", root=tmp_path, folder=tmp_path / "out", hop_length=256, **AUDIO
    )
    assert len(read_clips(tmp_path / "out" / "clips.csv")) == len(rows)
    excluded = clips.set_index("clip")["excluded"]
    kinds = excluded[excluded != ""].str.partition(":")[0].to_dict()
    assert kinds == {
        "toy/1.wav": "name taken",
        "toy/b.wav (3)": "name taken",
        "toy/é.wav": "name taken",
        "toy/J\\xf6rg": "name not UTF-8",
        "toy/gone": "cannot be read",
    }
    assert set(excluded.index[excluded == ""]) == {
        *("toy/a\\rb", "toy/a\\nb", 'toy/a"b,c', "toy/a%23noise", "toy/a%2B02", "toy/é"),
        *("toy/b", "toy/b.wav", "toy/b.wav (2)", "toy/1"),
    }
    assert all(map(is_utf8, clips["file"]))
