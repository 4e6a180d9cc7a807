"""The ablation as its user runs it, after the stages that it follows, on made-up features."""

import hashlib
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection
from omegaconf import OmegaConf
from sklearn.metrics import balanced_accuracy_score

from stages import split, train
from stages.clips.clip_table import COLUMNS, write_clips
from stages.reporting import drawing
from stages.reporting.predictions import read_predictions
from stages.reporting.sections.overall import headline, overall
from stages.running.entry import run_command
from studies import ablation, experiment
from tests.support import composed, inside

EMOTIONS = ["angry", "happy", "sad"]
OUTPUTS = [f"reports/ablation.{kind}" for kind in ("csv", "png", "svg")]
#: Dimensions, and how far the emotions lie apart in them.
FEATURES = {"mfcc": (4, 3.0), "zcr": (1, 0.0), "rms": (1, 1.0)}
SVM = (
    *("model=svm", "features=[mfcc,zcr,rms]", "split=loso", "seeds=[0,1]"),
    *("model.network.kernel=linear", "model.network.functionals=[mean,deviation]"),
    *("train.lr=0.003", "model.network.c=0.001", "features.zcr.frame_length=512"),
)
GRU = ("model=gru", "features=[rms,mfcc]", "split=random", "train.epochs=1")


def made_up_clips() -> pd.DataFrame:
    """Three speakers with six takes of each emotion; a training variant and an unusable clip."""
    names = [(s, e, t) for s in "123" for e in EMOTIONS for t in range(6)]
    clips = pd.DataFrame(names, columns=["speaker", "emotion", "take"])
    clips["clip"] = [f"savee/{speaker}-{emotion}-{take}" for speaker, emotion, take in names]
    clips["source"] = clips["clip"]
    clips["samples"] = np.random.default_rng(0).integers(2000, 5000, len(clips))
    clips["excluded"] = ""
    variant = clips.iloc[[0]].assign(clip="savee/1-angry-0#noise", variant="noise")
    silent = clips.iloc[[1]].assign(clip="savee/silent", samples=0, excluded="silent: peak 0")
    clips = pd.concat([clips.assign(variant="clean"), variant, silent.assign(variant="clean")])
    clips["source"] = clips["source"].where(clips["excluded"] == "", clips["clip"])
    return clips.assign(
        corpus="savee",
        speaker="savee/" + clips["speaker"],
        sha256=[hashlib.sha256(clip.encode()).hexdigest() for clip in clips["clip"]],
        frames=np.where(clips["excluded"] == "", 1 + clips["samples"] // 256, 0),
        duration_s=1.0,
        level_db=-20.0,
        **dict.fromkeys(("channels", "rate_hz", "start"), 1),
        **dict.fromkeys(("file", "sex", "age", "language", "intensity", "sentence"), ""),
        corpus_fold="",
    )[list(COLUMNS)].sort_values("clip")


def trained(folder, *overrides):
    """A folder in which the pipeline has run as far as `train`."""
    OmegaConf.save(composed(*overrides), folder / "params.yaml")
    clips = made_up_clips()
    write_clips(clips, folder / "data/merged/clips.csv")
    random = np.random.default_rng(1)
    where = np.repeat(clips["emotion"].map(EMOTIONS.index), clips["frames"])
    (folder / "data/features").mkdir()
    for name, (size, distance) in FEATURES.items():
        middle = distance * random.normal(size=(len(EMOTIONS), size))
        rows = middle[where] + random.normal(0, 4, (len(where), size))
        np.save(folder / f"data/features/{name}.npy", rows.astype(np.float16))
    inside(folder, split.main)
    inside(folder, train.main)
    return folder


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("svm"), *SVM)


@pytest.fixture
def copy(pipeline, tmp_path):
    return Path(shutil.copytree(pipeline, tmp_path / "copy"))


@pytest.fixture(scope="module")
def finished(pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "copy"
    shutil.copytree(pipeline, folder)
    return folder, inside(folder, ablation.main)


def rows_of(folder) -> pd.DataFrame:
    return pd.read_csv(folder / "reports/ablation.csv").set_index("variant")


def contents(folder) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def headline_of(folder) -> dict:
    """What reports/metrics.json shows of a folder's predictions."""
    known = pd.read_csv(folder / "data/merged/clips.csv")["clip"]
    predictions = read_predictions(folder / "data/predictions.csv", known=known)
    return headline(predictions, overall(predictions))


def test_each_feature_is_left_out_and_stands_alone(finished):
    folder, printed = finished
    rows = rows_of(folder)
    assert rows["features"].to_dict() == {
        "all": "mfcc+zcr+rms",
        "without mfcc": "zcr+rms",
        "without zcr": "mfcc+rms",
        "without rms": "mfcc+zcr",
        "only mfcc": "mfcc",
        "only zcr": "zcr",
        "only rms": "rms",
    }
    assert list(rows.columns) == [
        *("features", "clips", "speakers", "seeds", "ua", "ua_low", "ua_high"),
        *("difference", "difference_low", "difference_high", "interval_unit", "protocol"),
    ]
    for column, value in {
        "clips": 54,
        "speakers": 3,
        "seeds": 2,
        "interval_unit": "speakers",
    }.items():
        assert set(rows[column]) == {value}
    assert set(rows["protocol"]) == {"loso"}
    assert b"\r" not in (folder / "reports/ablation.csv").read_bytes()
    for name, row in rows.iterrows():
        assert f"{name} {row['ua']:.6f}" in " ".join(printed.split())


def test_all_features_are_the_pipelines_own_figures(finished, pipeline):
    folder, _ = finished
    row, metrics = rows_of(folder).loc["all"], headline_of(pipeline)
    for name in ("ua", "ua_low", "ua_high"):
        assert row[name] == metrics[name]
    assert 0 < row["ua_low"] < row["ua"] < row["ua_high"]
    assert (row[["difference", "difference_low", "difference_high"]] == 0).all()
    table = pd.read_csv(pipeline / "data/predictions.csv")
    names = [name for name in table if name.startswith("p_")]
    guess = table[names].idxmax(axis=1).str.removeprefix("p_")
    ua = [balanced_accuracy_score(r["label"], guess[r.index]) for _, r in table.groupby("seed")]
    assert row["ua"] == pytest.approx(np.mean(ua), abs=1e-6)


def test_a_variant_is_what_the_pipeline_makes_with_its_features(finished, copy):
    params = OmegaConf.load(copy / "params.yaml")
    params.features = {"rms": params.features.rms}
    OmegaConf.save(params, copy / "params.yaml")
    inside(copy, train.main)
    metrics, row = headline_of(copy), rows_of(finished[0]).loc["only rms"]
    for name in ("ua", "ua_low", "ua_high"):
        assert row[name] == metrics[name]


def test_what_tells_the_emotions_is_seen_to_tell_them(finished):
    rows = rows_of(finished[0])
    assert rows.loc["without mfcc", "difference_high"] < 0
    assert rows.loc["only zcr", "ua"] < 0.5 < rows.loc["only mfcc", "ua_low"]
    expected = rows["ua"] - rows.loc["all", "ua"]
    np.testing.assert_allclose(rows["difference"], expected, atol=2e-6)
    assert (rows["difference_low"] <= rows["difference"]).all()
    assert (rows["difference"] <= rows["difference_high"]).all()


def test_nothing_else_is_changed_or_left_behind(finished, pipeline):
    before, after = contents(pipeline), contents(finished[0])
    logs = {name for name in after if name.startswith("logs/")}
    assert set(after) - logs == set(before) | set(OUTPUTS)
    assert all(after[name] == before[name] for name in before)
    assert not (finished[0] / "models/unfinished").exists()


def test_the_figure_says_what_was_compared_on_what(finished):
    text = (finished[0] / "reports/ablation.svg").read_text()
    rows = rows_of(finished[0])
    for fact in (
        "Features of svm: 54 clips, 3 speakers, 2 seeds",
        "savee: one speaker held out at a time",
        "synthetic demo speech",
        f"UA of all features {rows.loc['all', 'ua']:.3f}",
        "chance 0.333",
        *rows.index,
        *(f"{value:+z.3f} (" for value in rows["difference"].iloc[1:]),
    ):
        assert fact in text, fact
    assert "speaker-dependent" not in text
    assert (finished[0] / "reports/ablation.png").read_bytes().startswith(b"\x89PNG")


def test_dots_and_intervals_stand_where_the_table_says(finished):
    table = rows_of(finished[0]).reset_index()
    with drawing.style():
        figure = experiment.systems_figure(
            table,
            heading="",
            reference="all features",
            kinds=[0, 1, 1, 1, 2, 2, 2],
            chance=0.25,
            notes=[],
        )
    axes = figure.axes[0]
    drawn = {
        kind: [c for c in axes.collections if isinstance(c, kind)]
        for kind in (PathCollection, LineCollection)
    }
    dots = np.concatenate([collection.get_offsets() for collection in drawn[PathCollection]])
    lines = [line for collection in drawn[LineCollection] for line in collection.get_segments()]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == table["variant"].tolist()
    ticks = axes.get_yticks()
    assert sorted(dots[:, 1]) == ticks.tolist()
    assert len(dots) == len(lines) == len(table)
    by_place = {line[0, 1]: line[:, 0].tolist() for line in lines}
    for (x, y), row in zip(dots, table.itertuples(), strict=True):
        assert y == ticks[row.Index] and x == row.ua
        assert by_place[y] == [row.ua_low, row.ua_high]
    gaps = np.diff(ticks)
    assert np.flatnonzero(gaps > gaps.min()).tolist() == [0, 3]  # all, without, only


def test_an_interrupted_run_goes_on_where_it_was(finished, copy, monkeypatch, caplog):
    (copy / "models/unfinished/other").mkdir(parents=True)  # of a run of something else
    calls, run_jobs = [], experiment.run_jobs

    def interrupted(todo, plan):
        calls.append(plan)
        if len(calls) == 2:
            run_jobs(todo[:3], plan)
            raise KeyboardInterrupt
        run_jobs(todo, plan)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(experiment, "run_jobs", interrupted)
        inside(copy, ablation.main)
    assert not any((copy / name).exists() for name in OUTPUTS)
    caplog.clear()
    with caplog.at_level("INFO"):
        inside(copy, ablation.main)
    assert "6 of 6 jobs were finished before" in caplog.text
    assert "3 of 6 jobs were finished before" in caplog.text
    assert [path.name for path in (copy / "models/unfinished").iterdir()] == ["other"]
    for name in OUTPUTS:
        assert (copy / name).read_bytes() == (finished[0] / name).read_bytes()


def test_two_features_of_a_network_are_trained_once_each(tmp_path, caplog):
    folder = trained(tmp_path, *GRU)
    with caplog.at_level("INFO"):
        printed = inside(folder, ablation.main)
    lines = [line for line in caplog.messages if line.startswith("ablation:")]
    assert lines == [
        "ablation: without rms, only mfcc (1 of 2)",
        "ablation: without mfcc, only rms (2 of 2)",
    ]
    rows = rows_of(folder)
    assert rows.index.tolist() == ["all", "without rms", "without mfcc", "only rms", "only mfcc"]
    pd.testing.assert_series_equal(
        rows.loc["without rms"], rows.loc["only mfcc"], check_names=False
    )
    pd.testing.assert_series_equal(
        rows.loc["without mfcc"], rows.loc["only rms"], check_names=False
    )
    assert rows.loc["all", "ua"] == headline_of(folder)["ua"]
    assert set(rows["protocol"]) == {"random (speaker-dependent)"}
    assert "speaker-dependent" in printed
    assert "speaker-dependent" in (folder / "reports/ablation.svg").read_text()


def refused(folder, monkeypatch) -> str:
    """What the ablation says when it will not begin."""

    def never(*_):
        raise AssertionError("trained in spite of it")

    monkeypatch.setattr(experiment, "run_jobs", never)
    with pytest.raises(SystemExit) as ended:
        inside(folder, partial(run_command, ablation.main))
    assert not any((folder / name).exists() for name in OUTPUTS)
    return ended.value.code


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.lr": 0.5}, "train.lr: got 0.003 in training, want 0.5; run `dvc repro` first"),
        ({"train.new": 1}, "train.new: got a setting that does not exist"),
        ({"model.network.c": 1}, "model.network.c: got 0.001 in training, want 1"),
        ({"audio.level": "peak"}, "audio.level: got rms in training, want peak"),
        ({"features.zcr.frame_length": 999}, "features.zcr.frame_length: got 512 in training"),
        ({"labels.map.sad": "low"}, "labels: got ['angry', 'happy', 'sad'] in training"),
        ({"seeds": [0]}, "seed 1: predicted, but not tested"),
        ({"seeds": [0, 1, 2]}, "seed 2: tested, but not predicted"),
        ({"seeds": [7]}, "missing: models/folds/fold_0-seed_7.pt; run `dvc repro` first"),
        (
            {"features": composed("features=[mfcc]")["features"]},
            "features: got ['mfcc'], an ablation wants at least 2",
        ),
    ],
)
def test_predictions_of_other_settings_are_refused(copy, monkeypatch, changes, message):
    params = OmegaConf.load(copy / "params.yaml")
    for key, value in changes.items():
        OmegaConf.update(params, key, value, merge=False)
    OmegaConf.save(params, copy / "params.yaml")
    assert message in refused(copy, monkeypatch)


def edited(file, change):
    def edit(folder):
        table = pd.read_csv(folder / file, dtype="str", keep_default_na=False)
        change(table).to_csv(folder / file, index=False)

    return edit


def other_fold(table):
    table.loc[table["clip"] == "savee/1-angry-0", ["0", "1"]] = ["train", "test"]
    return table


def other_label(table):
    return table.assign(label=table["label"].where(table["clip"] != "savee/1-angry-0", "sad"))


def other_speaker(table):
    return table.assign(speaker=table["speaker"].where(table["clip"] != "savee/1-angry-0", "x"))


def other_columns(table):
    return table.rename(columns={"p_angry": "p_happy", "p_happy": "p_angry"})


def without_a_clip(table):
    return table[table["clip"] != "savee/1-angry-0"]


def twice(table):
    return pd.concat([table, table.iloc[[0]]])


def without_folds(table):
    return table.drop(columns="fold")


def other_cache(shape):
    return lambda folder: np.save(folder / "data/features/zcr.npy", np.zeros(shape, np.float16))


FRAMES = int(made_up_clips()["frames"].sum())
CLIP = "data/predictions.csv: savee/1-angry-0, fold 0, seed 0:"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (edited("data/split.csv", other_fold), f"{CLIP} predicted, but not tested"),
        (edited("data/split.csv", other_label), f"{CLIP} different label"),
        (edited("data/split.csv", without_a_clip), f"{CLIP} predicted, but not tested"),
        (edited("data/merged/clips.csv", other_speaker), f"{CLIP} different speaker"),
        (edited("data/predictions.csv", without_a_clip), f"{CLIP} tested, but not predicted"),
        (edited("data/predictions.csv", other_columns), "labels: got ['happy', 'angry', 'sad']"),
        (edited("data/predictions.csv", twice), "predicted more than once for one seed"),
        (edited("data/predictions.csv", without_folds), "columns missing ['fold']"),
        (other_cache((FRAMES, 2)), "inputs.zcr: got 1 in training, want 2"),
        (other_cache((7, 1)), f"data/features/zcr.npy: got 7 frames, want {FRAMES} of the clip"),
    ],
)
def test_predictions_of_other_data_are_refused(copy, monkeypatch, spoil, message):
    spoil(copy)
    said = refused(copy, monkeypatch)
    assert message in said and said.endswith("run `dvc repro` first")


def test_missing_files_are_named(copy, monkeypatch):
    names = [
        *("data/merged/clips.csv", "data/features/zcr.npy", "data/split.csv"),
        *("reports/leakage.json", "data/predictions.csv", "models/folds/fold_0-seed_0.pt"),
    ]
    for number, name in enumerate(names, start=1):
        (copy / name).unlink()
        said = refused(copy, monkeypatch)
        found = said.removeprefix("missing: ").removesuffix("; run `dvc repro` first").split(", ")
        assert found == [other for other in names[:number] if other in found]
        assert len(found) == number
