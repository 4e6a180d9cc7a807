"""Planted leaks that a check must catch: a copy, a variant, a shared statistic."""

import dataclasses
import hashlib
import json
import re
from functools import partial
from itertools import chain, product

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from stages import split, train
from stages.clips.clip_table import COLUMNS, write_clips
from stages.clips.names import variant_name
from stages.learning import classical
from stages.learning.batches import ClipData
from stages.learning.learner import build_learner
from stages.reporting.predictions import read_predictions
from stages.reporting.sections.overall import headline, overall
from stages.running.entry import run_command
from stages.splits import leaks, split_table
from studies import leakage
from studies import table as functionals_table
from tests.support import ROOT, composed, inside

EMOTIONS = ["angry", "happy", "sad"]
MODELS = sorted(path.stem for path in (ROOT / "conf" / "model").glob("*.yaml"))


def clip_table(corpus="savee") -> pd.DataFrame:
    """Four speakers with three sentences per emotion, and a training variant of every clip."""
    rows = list(product("1234", EMOTIONS, "abc", ("clean", "noise")))
    clips = pd.DataFrame(rows, columns=["speaker", "emotion", "sentence", "variant"])
    source = f"{corpus}/" + clips["speaker"] + "-" + clips["emotion"] + "-" + clips["sentence"]
    for column in ("speaker", "sentence"):
        clips[column] = f"{corpus}/" + clips[column]
    clips["clip"] = source.where(clips["variant"] == "clean", variant_name(source, "noise"))
    clips = clips.assign(
        source=source,
        corpus=corpus,
        sha256=[hashlib.sha256(clip.encode()).hexdigest() for clip in clips["clip"]],
        samples=1600,
        frames=7,
        duration_s=0.1,
        level_db=-20.0,
        **dict.fromkeys(("channels", "rate_hz", "start"), 1),
        **dict.fromkeys(
            ("file", "sex", "age", "language", "intensity", "take", "corpus_fold", "excluded"), ""
        ),
    )
    return clips[list(COLUMNS)].sort_values("clip", ignore_index=True)


def run_split(clips, folder, monkeypatch, *overrides):
    """Run the stage in a folder of its own and return the split table."""
    OmegaConf.save(composed(*overrides), folder / "params.yaml")
    write_clips(clips, folder / "data/merged/clips.csv")
    monkeypatch.chdir(folder)
    split.main()
    return split_table.read_split("data/split.csv")


@pytest.mark.parametrize("protocol", ["speaker", "loso", "speaker_sentence"])
def test_a_clip_copied_under_another_speakers_name_stops_the_stage(tmp_path, monkeypatch, protocol):
    """As in a clip table that does not come from merge, which gives copies one source."""
    clips = clip_table()
    copy, original = (clips["clip"] == f"savee/{speaker}-angry-a" for speaker in "21")
    clips.loc[copy, "sha256"] = clips.loc[original, "sha256"].to_numpy()
    if protocol == "speaker_sentence":
        renamed = clips["source"] == "savee/2-angry-a"
        clips.loc[renamed, "sentence"] = "savee/b"  # the name also has another sentence
    with pytest.raises(ValueError, match=r"fold \d+: .* share 1 values of sha256"):
        run_split(clips, tmp_path, monkeypatch, f"split={protocol}", "split.validation=0")
    assert not (tmp_path / "data/split.csv").exists()
    assert not (tmp_path / "reports/leakage.json").exists()


@pytest.mark.parametrize("column", ["speaker", "sentence"])
def test_another_spelling_of_a_name_is_the_same_name(column):
    clips = clip_table()
    clips = clips[clips["variant"] == "clean"].reset_index(drop=True)
    table = clips[["clip"]].assign(label=clips["emotion"])
    table["0"] = np.where(clips["speaker"] == "savee/1", "test", "train")
    tested = table["0"] == "test"
    clips.loc[tested, "sentence"] = "savee/" + clips.loc[tested, "clip"]
    clips.loc[tested, column] = "savee/ Zoe\u0308"
    clips.loc[~tested, column] = "savee/ZO\u00cb"
    with pytest.raises(ValueError, match=f"share 1 values of {column}"):
        proof(clips, table, sentences_held_out=True)


def proof(clips, table, *, speaker_dependent=False, sentences_held_out=False):
    return leaks.leakage(
        clips.assign(label=clips["emotion"]),
        table,
        speaker_dependent=speaker_dependent,
        sentences_held_out=sentences_held_out,
    )


def test_a_variant_of_a_tested_clip_is_found_in_training(tmp_path, monkeypatch):
    clips = clip_table()
    table = run_split(clips, tmp_path, monkeypatch, "split=random").set_index("clip")
    tested = table.index[table["0"] == "test"][0]
    table.loc[variant_name(tested, "noise"), "0"] = "train"
    with pytest.raises(ValueError, match=f"fold 0: .* share 1 values of source.*: {tested}$"):
        proof(clips, table.reset_index(), speaker_dependent=True)


def test_a_protocol_says_what_else_is_trained_on():
    settings = {"name": "loso", "train_only": ["tess", "emodb"]}
    assert leaks.protocol_in_words(settings, []) == "loso (trained on tess, emodb as well)"
    assert leaks.trained_on_in_words(settings) == ["trained on tess, emodb as well"]
    assert leaks.trained_on_in_words({"train_only": []}) == []
    marked = leaks.protocol_in_words(settings, ["speaker-dependent"])
    assert marked == "loso (speaker-dependent, trained on tess, emodb as well)"


def test_variants_leak_only_on_request_and_reports_say_so(tmp_path, monkeypatch):
    leaky = ("split=random", "split.variants=independent")
    for overrides, words in (
        (("split=speaker",), ""),
        (("split=random",), "speaker-dependent"),
        (leaky, "speaker-dependent, variants of one recording on both sides"),
    ):
        settings = composed(*overrides)["split"]
        run_split(clip_table(), tmp_path, monkeypatch, *overrides)
        report = json.loads((tmp_path / "reports/leakage.json").read_text())
        assert report["variants"] == settings["variants"]
        assert report["variants_shared"] == ("variants" in words)
        assert any(entry["shared_sources"] for entry in report["folds"]) == ("variants" in words)
        shared = leaks.shared_in_words(settings, report)
        assert ", ".join(shared) == words
        assert leaks.protocol_in_words(settings, shared).endswith(f"({words})" if words else "r")
        assert words in settings["title"]
    clean = clip_table().query("variant == 'clean'")
    run_split(clean, tmp_path, monkeypatch, *leaky)
    assert not json.loads((tmp_path / "reports/leakage.json").read_text())["variants_shared"]
    with pytest.raises(ValueError, match="split.variants: got independent, want with_source"):
        run_split(clip_table(), tmp_path, monkeypatch, "split=loso", "split.variants=independent")


def test_a_shared_speaker_and_a_shared_sentence_are_found_unless_allowed(tmp_path, monkeypatch):
    clips = clip_table()
    held = run_split(clips, tmp_path, monkeypatch, "split=speaker_sentence").set_index("clip")
    voices, texts = (clips.set_index("clip")[column] for column in ("speaker", "sentence"))
    test = held.index[held["0"] == "test"]
    same_voice = (voices == voices[test[0]]) & ~texts.isin(texts[test])
    same_text = (texts == texts[test[0]]) & ~voices.isin(voices[test])
    for planted, column in ((same_voice, "speaker"), (same_text, "sentence")):
        table = held.copy()
        table.loc[planted.index[planted][0], "0"] = "train"
        allowed = {"speaker_dependent": column == "speaker"}
        allowed["sentences_held_out"] = column != "sentence"
        report = proof(clips, table.reset_index(), **allowed)
        assert report[0][f"shared_{column}s"] == 1
        allowed = {name: not value for name, value in allowed.items()}
        with pytest.raises(ValueError, match=f"fold 0: .* share 1 values of {column}"):
            proof(clips, table.reset_index(), **allowed)


def test_unknown_sentences_are_not_one_sentence(tmp_path, monkeypatch):
    clips = clip_table().assign(sentence="")
    table = run_split(clips, tmp_path, monkeypatch, "split=speaker")
    report = proof(clips, table, sentences_held_out=True)
    assert {entry["shared_sentences"] for entry in report} == {0}


def data_of(inputs, *, clips=24) -> ClipData:
    """Clips of three classes with different means, all of one length."""
    random = np.random.default_rng(0)
    labels = np.arange(clips) % 3
    where = np.repeat(labels, 20)[:, None]
    caches = {
        name: (where + random.normal(size=(20 * clips, size))).astype(np.float16)
        for name, size in inputs.items()
    }
    return ClipData(
        caches, 20 * np.arange(clips), np.full(clips, 20), labels, 3, speakers=np.arange(clips) // 3
    )


def states(model, folder) -> list[dict[str, torch.Tensor]]:
    """Train a model twice on the same training clips, with different held-out clips beside them."""
    params = composed(f"model={model}")
    members = (params["model"].get(part, {}).values() for part in ("members", "student"))
    for trained in (params, *chain(*members)):
        if "train" in trained:
            trained["train"] |= {"epochs": 1, "batch_size": 8, "crop_s": 0.2}
    inputs = {name: 40 if name == "melpower" else 3 for name in params["features"]}
    data, found = data_of(inputs), []
    held_out = slice(20 * 16, None)
    for change in (0, 9):
        caches = {name: cache.copy() for name, cache in data.caches.items()}
        for cache in caches.values():
            cache[held_out] = change * cache[held_out] + change
        learner = build_learner(params)
        learner.fit(
            dataclasses.replace(data, caches=caches),
            train=np.arange(12),
            validation=np.arange(12, 16),
            seed=0,
            logs=folder / "logs",
            on_epoch=lambda: None,
        )
        found.append({name: value.clone() for name, value in learner.state().items()})
    return found


def same(one, other) -> bool:
    assert one.keys() == other.keys() and one
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("model", MODELS)
def test_held_out_clips_change_nothing_that_a_model_learns(tmp_path, model):
    assert same(*states(model, tmp_path))


def test_a_normaliser_fitted_on_everything_is_caught(tmp_path, monkeypatch):
    """The test above notices it in a network's input statistics and in the SVM's scaler."""
    statistics = ClipData.statistics
    everything = np.arange(24)
    monkeypatch.setattr(ClipData, "statistics", lambda data, _: statistics(data, everything))
    assert not same(*states("gru", tmp_path))

    functionals = classical.functionals

    def scaled(data, clips, *, names):
        scale = 1 + functionals(data, everything, names=names).std(axis=0)
        return functionals(data, clips, names=names) / scale

    monkeypatch.setattr(classical, "functionals", scaled)
    assert not same(*states("svm", tmp_path))


# The measured inflation ------------------------------------------------------------------------

OUTPUTS = [f"reports/inflation.{kind}" for kind in ("csv", "png", "svg")]


def finished(folder, clips, *overrides):
    """Run the pipeline up to `train` in a folder; each speaker has their own emotions."""
    model = ("model=svm", "model.network.functionals=[mean]", "features=[mfcc,rms]")
    params = composed(*model, "split.validation=0", *overrides)
    OmegaConf.save(params, folder / "params.yaml")
    (folder / "conf").symlink_to(ROOT / "conf")
    write_clips(clips, folder / "data/merged/clips.csv")
    (folder / "data/features").mkdir()
    random = np.random.default_rng(0)
    voice, _ = pd.factorize(clips["speaker"] + clips["emotion"])
    for name, size in (("mfcc", 40), ("rms", 1)):
        middle = random.normal(0, 3, (voice.max() + 1, size))
        rows = random.normal(np.repeat(middle[voice], clips["frames"], axis=0))
        np.save(folder / f"data/features/{name}.npy", rows.astype(np.float16))
    inside(folder, split.main)
    inside(folder, train.main)
    return folder


def rows_of(folder) -> pd.DataFrame:
    return pd.read_csv(folder / "reports/inflation.csv").set_index("protocol")


def test_inflation_measures_the_effect_of_known_speakers(tmp_path):
    clips = pd.concat([clip_table(), clip_table("emodb")]).sort_values("clip", ignore_index=True)
    folder = finished(tmp_path, clips, "split=speaker")
    before = {p: p.read_bytes() for p in folder.rglob("*.*") if p.is_file()}
    printed = inside(folder, leakage.main)
    table = rows_of(folder)
    assert table.index.tolist() == [
        *("speaker", "random (speaker-dependent)", "speaker_sentence", "corpus")
    ]
    assert table["folds"].tolist() == [5, 5, 15, 2]
    assert set(table["clips"]) == {72} and set(table["speakers"]) == {8}
    trained = table["trained_clips"]
    assert trained["corpus"] == 72 < trained["speaker_sentence"] < trained["speaker"]
    known = clips["clip"]
    predictions = read_predictions(folder / "data/predictions.csv", known=known)
    own = headline(predictions, overall(predictions))
    for name in ("ua", "ua_low", "ua_high"):
        assert table.loc["speaker", name] == own[name]
    assert table.loc["speaker", "difference"] == 0
    random = table.loc["random (speaker-dependent)"]
    assert random["ua"] > 0.9 and random["difference_low"] > 0.2
    np.testing.assert_allclose(table["difference"], table["ua"] - own["ua"], atol=2e-6)
    svg = (folder / OUTPUTS[2]).read_text()
    for fact in (*table.index, "difference to speaker, 95 % interval", "72 clips, 8 speakers"):
        assert fact in svg and (fact in printed or "interval" in fact)
    after = {p: p.read_bytes() for p in folder.rglob("*.*") if p.is_file()}
    new = {p.relative_to(folder).as_posix() for p in set(after) - set(before)}
    assert {name for name in new if not name.startswith("logs/")} == set(OUTPUTS)
    assert all(after[path] == content for path, content in before.items())
    assert not (folder / "models/unfinished").exists()


def test_protocols_that_the_clips_do_not_allow_are_left_out(tmp_path, caplog):
    """One corpus with unknown sentences; the last run left one speaker out."""
    folder = finished(tmp_path, clip_table().assign(sentence=""), "split=loso")
    with caplog.at_level("WARNING"):
        inside(folder, leakage.main)
    assert re.search("speaker_sentence.*savee has no clip with a known sentence", caplog.text)
    assert re.search(r"corpus.*got the corpora \['savee'\], want at least 2", caplog.text)
    assert rows_of(folder).index.tolist() == ["speaker", "random (speaker-dependent)"]


def test_only_clips_that_all_protocols_test_are_compared(tmp_path, caplog):
    clips = clip_table()
    unknown = clips["source"].str.endswith("-c")
    clips.loc[unknown, "sentence"] = ""
    folder = finished(tmp_path, clips, "split=random")
    with caplog.at_level("INFO"):
        inside(folder, leakage.main)
    assert "12 clips" in caplog.text and "left out" in caplog.text
    assert set(rows_of(folder)["clips"]) == {24}


def test_the_measured_inflation_names_leaking_variants(tmp_path):
    folder = finished(tmp_path, clip_table(), "split=random", "split.variants=independent")
    inside(folder, functionals_table.main)  # for tools that would treat a variant as a recording
    written = pd.read_csv(folder / "reports/functionals.csv")["clip"]
    assert len(written) == 36 and not written.str.contains("noise").any()
    inside(folder, leakage.main)
    marked = "random (speaker-dependent, variants of one recording on both sides)"
    rows = rows_of(folder)
    assert rows.index.tolist() == ["speaker", marked, "speaker_sentence"]
    assert set(rows["clips"]) == {36}


def test_a_split_of_other_settings_is_refused(tmp_path):
    folder = finished(tmp_path, clip_table(), "split=speaker")
    params = OmegaConf.load(folder / "params.yaml")
    params.split.protocol.folds = 2
    OmegaConf.save(params, folder / "params.yaml")
    with pytest.raises(SystemExit) as ended:
        inside(folder, partial(run_command, leakage.main))
    assert re.match("data/split.csv: .*speaker.*run `dvc repro`", ended.value.code)
    assert not any((folder / name).exists() for name in OUTPUTS)


def test_the_study_asks_for_a_finished_run(tmp_path):
    OmegaConf.save(composed(), tmp_path / "params.yaml")
    with pytest.raises(SystemExit) as ended:
        inside(tmp_path, partial(run_command, leakage.main))
    assert "missing: data/merged/clips.csv" in ended.value.code
    assert ended.value.code.endswith("run `dvc repro` first")
