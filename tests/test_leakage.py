"""Planted leaks, each of which a check must catch: a copy, a variant, a shared statistic."""

import dataclasses
import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from stages import split, train
from stages.clips.clip_table import COLUMNS, write_clips
from stages.learning import jobs
from stages.learning.batches import ClipData
from stages.networks import svm
from stages.reporting.predictions import read_predictions
from stages.reporting.sections.overall import headline, overall
from stages.splits import folds, leaks
from studies import leakage
from studies import table as functionals_table
from tests.support import ROOT, composed, inside

EMOTIONS = ["angry", "happy", "sad"]
MODELS = sorted(path.stem for path in (ROOT / "conf" / "model").glob("*.yaml"))


def clip_table(corpus="savee") -> pd.DataFrame:
    """Four speakers with three sentences in each emotion, and a training variant of every clip."""
    names = [
        (f"{who}-{emotion}-{text}{variant}", who, emotion, text, variant or "clean")
        for who in "1234"
        for emotion in EMOTIONS
        for text in "abc"
        for variant in ("", "#noise")
    ]
    clips = pd.DataFrame(names, columns=["clip", "speaker", "emotion", "sentence", "variant"])
    for column in ("clip", "speaker", "sentence"):
        clips[column] = f"{corpus}/" + clips[column]
    clips = clips.assign(
        source=clips["clip"].str.partition("#")[0],
        corpus=corpus,
        sha256=[hashlib.sha256(clip.encode()).hexdigest() for clip in clips["clip"]],
        samples=1600,
        frames=7,
        duration_s=0.1,
        level_db=-20.0,
        **dict.fromkeys(("channels", "rate_hz", "start"), 1),
        **dict.fromkeys(("file", "sex", "age", "language", "intensity", "take", "excluded"), ""),
    )
    return clips[list(COLUMNS)].sort_values("clip", ignore_index=True)


def run_split(clips, folder, monkeypatch, *overrides):
    """The stage, in a folder of its own."""
    OmegaConf.save(composed(*overrides), folder / "params.yaml")
    write_clips(clips, folder / "data/merged/clips.csv")
    monkeypatch.chdir(folder)
    split.main()
    return folds.read_split("data/split.csv")


@pytest.mark.parametrize("protocol", ["speaker", "loso", "speaker_sentence"])
def test_a_clip_copied_under_another_speakers_name_stops_the_stage(tmp_path, monkeypatch, protocol):
    """Such as a table of clips would have that did not come from merge, which joins copies."""
    clips = clip_table()
    copy, own = (clips["clip"] == f"savee/{who}-angry-a" for who in "21")
    clips.loc[copy, "sha256"] = clips.loc[own, "sha256"].to_numpy()
    if protocol == "speaker_sentence":
        renamed = clips["source"] == "savee/2-angry-a"
        clips.loc[renamed, "sentence"] = "savee/b"  # the name says another text as well
    with pytest.raises(ValueError, match=r"fold \d+: 1 of sha256 stand in training and test"):
        run_split(clips, tmp_path, monkeypatch, f"split={protocol}", "split.validation=0")
    assert not (tmp_path / "data/split.csv").exists()
    assert not (tmp_path / "reports/leakage.json").exists()


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
    table.loc[f"{tested}#noise", "0"] = "train"
    with pytest.raises(ValueError, match=f"fold 0: 1 of source stand .*: {tested}$"):
        proof(clips, table.reset_index(), speaker_dependent=True)


def test_a_leak_of_variants_is_made_only_where_it_is_asked_for_and_said(tmp_path, monkeypatch):
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
        assert ", ".join(leaks.shared_in_words(settings, report)) == words
        assert words in settings["title"]
    clean = clip_table().query("variant == 'clean'")
    run_split(clean, tmp_path, monkeypatch, *leaky)
    assert not json.loads((tmp_path / "reports/leakage.json").read_text())["variants_shared"]
    with pytest.raises(ValueError, match="split.variants: got independent, want with_source"):
        run_split(clip_table(), tmp_path, monkeypatch, "split=loso", "split.variants=independent")


def test_a_speaker_and_a_sentence_on_both_sides_are_found_unless_allowed(tmp_path, monkeypatch):
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
        with pytest.raises(ValueError, match=f"fold 0: 1 of {column} stand in training and test"):
            proof(clips, table.reset_index(), **allowed)


def test_unknown_sentences_are_not_one_sentence(tmp_path, monkeypatch):
    clips = clip_table().assign(sentence="")
    table = run_split(clips, tmp_path, monkeypatch, "split=speaker")
    report = proof(clips, table, sentences_held_out=True)
    assert {entry["shared_sentences"] for entry in report} == {0}


def data_of(inputs, *, clips=24) -> ClipData:
    """Clips of three classes, each its own mean, as many frames each."""
    random = np.random.default_rng(0)
    labels = np.arange(clips) % 3
    where = np.repeat(labels, 20)[:, None]
    caches = {
        name: (where + random.normal(size=(20 * clips, size))).astype(np.float16)
        for name, size in inputs.items()
    }
    return ClipData(caches, 20 * np.arange(clips), np.full(clips, 20), labels, 3)


def states(model, folder) -> list[dict[str, torch.Tensor]]:
    """What a model learns from the same training clips beside two sets of held-out clips."""
    params = composed(f"model={model}")
    params["train"] |= {"epochs": 1, "batch_size": 8, "crop_s": 0.2}
    inputs = {name: 3 for name in params["features"]}
    data, found = data_of(inputs), []
    held_out = slice(20 * 16, None)
    for change in (0, 9):
        caches = {name: cache.copy() for name, cache in data.caches.items()}
        for cache in caches.values():
            cache[held_out] = change * cache[held_out] + change
        learner = jobs._learner(SimpleNamespace(settings=params), folder / "logs", lambda: None)
        learner.fit(
            dataclasses.replace(data, caches=caches),
            train=np.arange(12),
            validation=np.arange(12, 16),
            seed=0,
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
    """The check above sees it in a network's input statistics, and in the SVM's scaler."""
    statistics = ClipData.statistics
    everything = np.arange(24)
    monkeypatch.setattr(ClipData, "statistics", lambda data, _: statistics(data, everything))
    assert not same(*states("gru", tmp_path))

    functionals = svm.functionals

    def scaled(data, clips, *, names):
        return functionals(data, clips, names=names) / functionals(
            data, everything, names=names
        ).std(axis=0)

    monkeypatch.setattr(svm, "functionals", scaled)
    assert not same(*states("svm", tmp_path))


# The measured inflation ------------------------------------------------------------------------

OUTPUTS = [f"reports/inflation.{kind}" for kind in ("csv", "png", "svg")]


def finished(folder, clips, *overrides):
    """A folder in which the pipeline has run as far as `train`; each voice has its own emotions."""
    model = ("model=svm", "model.network.c=1", "features=[mfcc,rms]")
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


def test_what_voices_give_away_is_seen_as_inflation(tmp_path):
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
    """Here of one corpus whose sentences are unknown; the last run held single speakers out."""
    folder = finished(tmp_path, clip_table().assign(sentence=""), "split=loso")
    with caplog.at_level("WARNING"):
        inside(folder, leakage.main)
    assert (
        "without speaker_sentence: split: no sentence is known of any clip of savee" in caplog.text
    )
    assert "without corpus: split corpus: got the corpora ['savee'], want at least 2" in caplog.text
    assert rows_of(folder).index.tolist() == ["speaker", "random (speaker-dependent)"]


def test_clips_that_not_all_protocols_test_are_not_compared(tmp_path, caplog):
    clips = clip_table()
    unknown = clips["source"].str.endswith("-c")
    clips.loc[unknown, "sentence"] = ""
    folder = finished(tmp_path, clips, "split=random")
    with caplog.at_level("INFO"):
        inside(folder, leakage.main)
    assert "12 clips that not all test are left out" in caplog.text
    assert set(rows_of(folder)["clips"]) == {24}


def test_a_leak_of_variants_is_named_in_the_measured_inflation(tmp_path):
    folder = finished(tmp_path, clip_table(), "split=random", "split.variants=independent")
    inside(folder, functionals_table.main)  # for tools that would take a variant for a recording
    written = pd.read_csv(folder / "reports/functionals.csv")["clip"]
    assert len(written) == 36 and not written.str.contains("#").any()
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
        inside(folder, leakage.main)
    said = "data/split.csv: is not the split speaker of params.yaml; run `dvc repro` first"
    assert ended.value.code == said
    assert not any((folder / name).exists() for name in OUTPUTS)


def test_nothing_is_compared_before_the_pipeline_has_run(tmp_path):
    OmegaConf.save(composed(), tmp_path / "params.yaml")
    with pytest.raises(SystemExit) as ended:
        inside(tmp_path, leakage.main)
    assert "missing: data/merged/clips.csv" in ended.value.code
    assert ended.value.code.endswith("run `dvc repro` first")
