"""The report on the corpora: facts of each against those counted by hand, labels and figures."""

import io
import math
import re

import matplotlib.image
import numpy as np
import pandas as pd
import psutil
import pytest
import soundfile

from stages.audio.loudness import rms_db
from stages.audio.store import FULL_SCALE, AudioStore, open_audio
from stages.clips.clip_table import read_clips, write_clips
from stages.clips.completeness import Release, compare_release
from stages.clips.preparation import prepare_corpus
from stages.reporting import drawing
from stages.reporting.sections import corpus_facts, label_sets
from stages.sources.vocabulary import EMOTIONS
from studies.sounds import draw_sounds
from tests.support import AUDIO, ROOT, composed, run_of_clips

SETTINGS = composed("data=real")
LABEL_SETS = label_sets.read_label_sets(ROOT / "conf/labels")


def tone(seconds, *, level_db, rate=16000):
    """A sine with this root mean square, relative to full scale."""
    peak = math.sqrt(2) * 10 ** (level_db / 20)
    return peak * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)


# Levels


@pytest.mark.parametrize("level_db", [-6, -40, -90])
def test_level_of_a_tone(level_db):
    samples = tone(1, level_db=level_db)
    assert rms_db(samples, full_scale=1.0) == pytest.approx(level_db, abs=1e-3)
    both = np.stack([samples, samples], axis=1)
    assert rms_db(both, full_scale=1.0) == pytest.approx(level_db, abs=1e-3)
    assert rms_db(both * 7, full_scale=7.0) == pytest.approx(level_db, abs=1e-3)


def test_level_is_the_same_in_pieces_and_of_silence_a_number(monkeypatch):
    samples = np.random.default_rng(0).integers(-999, 999, 10_007).astype(np.int16)
    want = 10 * math.log10(np.mean((samples / FULL_SCALE) ** 2))
    assert rms_db(samples, full_scale=FULL_SCALE) == pytest.approx(want, abs=1e-9)
    monkeypatch.setattr("stages.audio.loudness._BLOCK", 100)
    assert rms_db(samples, full_scale=FULL_SCALE) == pytest.approx(want, abs=1e-9)
    assert rms_db(np.zeros(9, np.int16), full_scale=FULL_SCALE) == -200


def test_level_in_the_clip_table_is_that_of_the_file(tmp_path):
    quiet = np.concatenate([np.zeros(16000), tone(1, level_db=-20)])
    soundfile.write(tmp_path / "a.wav", quiet, 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 16000)
    (tmp_path / "broken.wav").write_bytes(b"")
    files = ["a.wav", "silent.wav", "broken.wav"]
    rows = [{"clip": f[:-4], "file": f, "speaker": "1", "emotion": "sad"} for f in files]
    rows.append({"clip": "odd", "file": "odd.wav", "excluded": "name does not parse: got odd"})
    out, audio = tmp_path / "out", AUDIO | {"trim_db": 40, "level_db": -40}
    prepare_corpus(rows, corpus="x", root=tmp_path, folder=out, hop_length=256, **audio)
    written = read_clips(out / "clips.csv").set_index("file")["level_db"]
    assert written["a.wav"] == pytest.approx(-23.01, abs=0.01)  # half of it is silence
    assert written["silent.wav"] == -200
    assert written[["broken.wav", "odd.wav"]].isna().all()


# Tables


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two corpora as they are merged: with a segmented and an excluded file, and a variant.

    Returns the clip table and the store.
    """
    root = tmp_path_factory.mktemp("clips")
    rows = []
    for number, (name, level_db) in enumerate(
        [("03a01Wa", -20), ("08a01Lc", -12), ("08a02Wc", -6)]
    ):
        samples = tone(1 + number, level_db=level_db)
        soundfile.write(root / f"{name}.wav", samples, 16000, subtype="FLOAT")
        facts = {"03": ("male", "31"), "08": ("female", "")}[name[:2]]
        emotion = {"W": "angry", "L": "boredom"}[name[5]]
        row = {"clip": name, "file": f"{name}.wav", "speaker": name[:2], "emotion": emotion}
        rows.append(row | dict(zip(("sex", "age"), facts, strict=True)) | {"language": "de"})
    rows.append(
        {"clip": "notes", "file": "notes.wav", "excluded": "name does not parse: got notes"}
    )
    prepare_corpus(rows, corpus="emodb", root=root, folder=root / "out", hop_length=256, **AUDIO)
    table = read_clips(root / "out" / "clips.csv").set_index("clip", drop=False)
    segment = table.loc["emodb/08a02Wc"].copy()
    first = {"clip": "emodb/08a02Wc+01", "samples": 16000, "duration_s": 1.0}
    table.loc["emodb/08a02Wc", [*first, "source"]] = [*first.values(), first["clip"]]
    segment[[*first, "source"]] = ["emodb/08a02Wc+02", 32000, 2.0, first["clip"]]
    segment["start"] += 16000
    variant = table.loc["emodb/03a01Wa"].copy()
    variant[["clip", "variant"]] = ["emodb/03a01Wa#noise", "noise"]
    song = table.loc["emodb/03a01Wa"].copy()
    own = {"clip": "savee/KL_su01", "source": "savee/KL_su01", "corpus": "savee"}
    song[[*own, "emotion", "speaker"]] = [*own.values(), "surprise", "savee/KL"]
    table = pd.concat([table, pd.DataFrame([segment, variant, song])], ignore_index=True)
    return table, open_audio(root / "out" / "audio.npy")


def report_of(clips, *, data="real", dependent=False):
    """What the sections say, the completeness of each corpus, and the figures as SVG."""
    table, store = clips
    settings = composed(f"data={data}", "corpora=[emodb,savee]", "labels=six")
    known = {"store": store, "settings": settings, "label_sets": LABEL_SETS}
    run = run_of_clips(table, **known, dependent=dependent)
    with drawing.style():
        facts, labels = corpus_facts.section(run), label_sets.section(run)
        drawn = {
            name: drawing.encode(figure, "svg").decode() for name, figure in facts.figures.items()
        }
    table = pd.read_csv(io.BytesIO(facts.files["corpora.csv"])).set_index("corpus")
    found = {**facts.words, **labels.words, "table": table, "completeness": run.completeness}
    return found, drawn


@pytest.fixture(scope="module")
def report(clips):
    return report_of(clips)


def test_a_row_per_corpus_with_what_was_put_in(report):
    table = report[0]["table"]
    assert list(table.index) == ["emodb", "savee"]
    emodb = table.loc["emodb"].to_dict()
    want = {
        "language": "de",
        "files": 4,
        "clips": 4,
        "excluded": 1,
        "expected": 535,
        "found": 3,
        "missing": 532,
        "surplus": 0,
        "unusable": 0,
        "speakers": 2,
        "expected_speakers": 10,
        "female": 1,
        "male": 1,
        "age_min": 31,
        "age_max": 31,
        "emotions": 2,
        "rates_hz": "16000 (3)",
        "hours": round(6 / 3600, 3),
        "used_hours": round(6 / 3600, 3),
        "duration_s_p50": 1.5,
        "level_db_p50": -9,
        "used_s_p05": 1,
        "used_s_p50": 1.5,
        "used_s_p95": 2,
        "used_db_p05": -30,
        "used_db_p95": -30,
    }
    got = {name: round(emodb[name], 1) if name.endswith("db_p50") else emodb[name] for name in want}
    assert got == pytest.approx(want, abs=0.2)
    assert table.loc["savee", "clips"] == table.loc["savee", "male"] == 1


def test_missing_is_empty_in_the_file_for_the_demo_and_for_a_corpus_without_release(clips):
    demo, _ = report_of(clips, data="demo")
    assert demo["completeness"] == {}
    assert demo["table"][["expected", "missing"]].isna().all(axis=None)
    assert "the release's clips found" in set(demo["overview"]["fact"])


def test_completeness_is_that_of_the_clip_table(report):
    found = report[0]["completeness"]["emodb"]
    assert (found.found, found.missing, found.surplus) == (3, 532, 0)
    lacking = report[0]["lacking"].set_index("emotion")
    assert lacking.loc["angry", "emodb"] == "2 of 127"
    assert lacking.loc["surprise", ["emodb", "savee"]].tolist() == ["", "1 of 60"]


def test_a_complete_corpus_is_not_among_the_partial():
    release = Release(clips=1, emotions={"sad": 1}, speakers=1, names=None)
    rows = {"clip": ["x/a"], "file": ["a.wav"], "corpus": "x", "speaker": "x/1", "emotion": "sad"}
    of = compare_release(pd.DataFrame(rows).assign(variant="clean", excluded=""), release=release)
    for completeness in ({}, {"x": of}):
        assert len(corpus_facts.missing_table(completeness)) == 0


def test_overview_says_the_same_in_words(report):
    facts = report[0]["overview"].set_index("fact")
    assert facts.loc["the release's clips found"].tolist() == ["3 of 535", "1 of 480"]
    assert facts.loc["women, men"].tolist() == ["1, 1", "0, 1"]
    assert facts.loc["age in years", "emodb"] == "31 to 31"
    assert facts.loc["rate of the files (Hz)", "emodb"] == "16000"
    assert facts.loc["level in use (dB): median", "emodb"] == "-30.0"
    assert facts.loc["duration in use (s): 5 to 95 %", "emodb"] == "1.0 to 2.0"


# Labels


def test_labels_are_the_codes_of_the_chosen_corpora_under_every_label_set(report):
    table = report[0]["labels"].set_index("common name")
    assert list(table) == ["emodb", "savee", "six (chosen)", "eight", "seven", "four"]
    assert list(table.index) == [e for e in EMOTIONS if e in {*table.index}]
    assert table.loc["boredom"].tolist() == ["L", "", "–", "other", "–", "–"]
    assert table.loc["surprise"].tolist() == ["", "su", "–", "surprise", "surprise", "–"]
    assert "calm" not in table.index


def test_the_chosen_label_set_is_that_of_the_settings():
    table = label_sets.label_table(
        {"x": {"A": "angry", "B": "angry"}}, label_sets={"own (chosen)": {"angry": "loud"}}
    )
    assert table.to_dict("records") == [
        {"common name": "angry", "x": "A, B", "own (chosen)": "loud"}
    ]


def test_codes_are_those_of_the_reader():
    for name, settings in SETTINGS["corpora"].items():
        codes = label_sets.corpus_codes(settings, present=["other"])
        assert len(codes) > 1 and set(codes.values()) <= set(EMOTIONS) - {"other"}, name


def test_words_stand_where_a_reader_has_no_codes():
    reader = {"_target_": "stages.corpora.folder.read", "emotions": {"wut": "angry"}}
    codes = label_sets.corpus_codes({"reader": reader}, present=["sad", "angry"])
    table = label_sets.label_table({"own": codes}, label_sets={}).set_index("common name")
    assert table["own"].to_dict() == {"angry": "angry, wut", "sad": "sad"}


def test_losses_are_counted_for_every_label_set(report):
    losses = report[0]["losses"].set_index("label set")
    assert losses["emodb"].to_dict() == {
        "six (chosen)": "1 of 4: boredom",
        "eight": "0 of 4",
        "seven": "1 of 4: boredom",
        "four": "1 of 4: boredom",
    }
    assert losses["savee"]["four"] == "1 of 1: surprise"


def test_the_docs_have_this_table_of_labels():
    every = [path.stem for path in sorted((ROOT / "conf/corpora").glob("*.yaml"))]
    chosen = list(SETTINGS["corpora"])
    names = [*chosen, *(name for name in every if name not in chosen)]
    settings = composed(f"corpora=[{','.join(names)}]")["corpora"]
    codes = {name: label_sets.corpus_codes(settings[name], present=[]) for name in names}
    table = label_sets.label_table(
        {name: of for name, of in codes.items() if of}, label_sets=LABEL_SETS
    )
    head = [table.columns[0], *(f"`{name}`" for name in table.columns[1:])]
    rows = [[f" {cell} " if cell else " " for cell in row] for row in [head, *table.to_numpy()]]
    rows.insert(1, ["---"] * len(head))
    wanted = "\n".join(f"|{'|'.join(row)}|" for row in rows)
    page = ROOT / "docs" / "protocols.md"
    assert wanted in page.read_text(), f"{page.name}, Labels: want\n{wanted}"


# Figures


@pytest.mark.slow
def test_figures_show_the_numbers_and_repeat_byte_for_byte(clips, report):
    drawn = report[1]
    assert set(drawn) == {
        f"corpora_{name}" for name in ("clips", "durations", "voices", "levels", "excluded")
    }
    texts = {name: re.findall(r"<text[^>]*>([^<]*)</text>", svg) for name, svg in drawn.items()}
    assert {"angry", "boredom", "surprise", "emodb", "savee", "3"} <= set(texts["corpora_clips"])
    assert {"women", "men", "emodb", "2"} <= set(texts["corpora_voices"])
    assert "not known" not in texts["corpora_voices"]
    assert {"in the file", "in use", "duration (s)"} <= set(texts["corpora_durations"])
    assert {"in the file", "in use"} <= set(texts["corpora_levels"])
    assert {"name does not parse", "emodb", "savee", "1"} <= set(texts["corpora_excluded"])
    assert report_of(clips)[1] == drawn


@pytest.mark.slow
def test_nothing_excluded_is_no_figure_and_notes_are_on_each(clips):
    table, store = clips
    kept = table[table["excluded"] == ""]
    _, drawn = report_of((kept, store), dependent=True)
    assert "corpora_excluded" not in drawn and len(drawn) == 4
    assert all("speaker-dependent" in svg for svg in drawn.values())


@pytest.mark.slow
def test_speakers_of_unknown_sex_are_drawn_and_counted(clips):
    table, store = clips
    found, drawn = report_of((table.assign(sex=""), store))
    assert ">not known<" in drawn["corpora_voices"] and ">women<" not in drawn["corpora_voices"]
    facts = found["overview"].set_index("fact")
    assert facts.loc["women, men", "emodb"] == "0, 0, 2 not known"


def test_levels_and_durations_are_drawn_without_training(clips, tmp_path):
    table, store = clips
    write_clips(table, tmp_path / "clips.csv")
    np.save(tmp_path / "audio.npy", store)
    drawn = draw_sounds(tmp_path, sample_rate=16000)
    assert list(drawn) == ["corpora_durations.png", "corpora_levels.png"]
    for content in drawn.values():
        height, width = matplotlib.image.imread(io.BytesIO(content)).shape[:2]
        assert width == 7 * drawing.DPI and height > drawing.DPI
    assert drawn == draw_sounds(tmp_path, sample_rate=16000)


def test_levels_of_many_clips_leave_no_sound_in_memory(tmp_path):
    samples, number = 500_000, 60  # 60 MB
    with AudioStore(tmp_path / "audio.npy") as store:
        for _ in range(number):
            store.append(np.full(samples, FULL_SCALE / 2))
    clips = pd.DataFrame({"start": samples * np.arange(number), "samples": samples})
    mapped = open_audio(tmp_path / "audio.npy")
    before = psutil.Process().memory_info().rss
    levels = corpus_facts.used_levels(clips, store=mapped)
    np.testing.assert_allclose(levels, 20 * np.log10(0.5), atol=1e-3)
    assert psutil.Process().memory_info().rss - before < 20e6
