"""The whole evaluate stage on a small made-up experiment, and what it refuses to evaluate."""

import hashlib
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import balanced_accuracy_score, log_loss, recall_score

from stages import evaluate
from stages.clips.table import write_clips
from stages.reporting import tables
from tests.support import composed

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
    "toy": {"_target_": "stages.protocols.random.assign", "size": 3},
}
FIGURES = {"confusion", "history", "emotions", "speakers", "recall"}
FIGURES |= {f"corpora_{part}" for part in ("clips", "durations", "voices", "levels", "excluded")}
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
        sex="female", age="", language="en", intensity="", sentence="", take="", channels=1
    )
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


def _experiment(
    root, *, dependent=False, admitted=True, data="real", epochs=3, leftover="leftover"
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
    (root / "reports/figures").mkdir(parents=True)
    (root / leftover).touch()
    _training(epochs=epochs).to_csv(root / "reports/training.csv", index=False)
    fold = {"fold": 0, "train_clips": 24, "shared_speakers": 3 if dependent else 0}
    fold |= {"shared_sources": 0, "shared_sha256": 0, "classes_missing_in_training": ["sad"]}
    leakage = {"protocol": "random", "speaker_dependent": dependent, "folds": [fold]}
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
    }
    (root / "params.yaml").write_text(yaml.safe_dump(params))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run the stage on a made-up experiment in a folder of its own; gives its reports folder."""

    def run(**options):
        root = tmp_path_factory.mktemp("experiment")
        change = options.pop("change", None)
        _experiment(root, **options)
        if change:
            change(root)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(root)
            evaluate.main()
        return root / "reports"

    return run


@pytest.fixture(scope="module")
def reports(run):
    return run()


def _contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_everything_is_written_and_every_byte_repeats(run, reports):
    first = _contents(reports)
    assert set(first) == {
        "metrics.json",
        "index.html",
        "training.csv",
        "leakage.json",
        "corpora.csv",
        "plots/confusion.csv",
        "plots/learning_curves.csv",
        *(f"tables/per_{part}.csv" for part in ("class", "corpus", "speaker")),
        *(f"figures/{name}.{kind}" for name in FIGURES for kind in ("png", "svg")),
    }
    # in another folder, over what an earlier version left there
    assert _contents(run(leftover="reports/figures/old.png")) == first


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


def test_learning_curves_are_the_mean_of_the_jobs_still_running():
    curves = tables.learning_curves(_training(epochs=3))
    assert curves["epoch"].tolist() == [1, 2, 3]
    assert curves["validation_loss"].tolist() == [1.5, 1.5, 1.0]  # fold 1 stopped after 2
    assert curves["train_loss"].tolist() == [1.0, 0.5, 0.333333]  # without the job `all`


def test_every_clip_is_accounted_for():
    clips = _clips()
    variant = clips.iloc[[0]].assign(clip="ravdess/1-angry-0#noise", variant="noise")
    clips = pd.concat([clips, variant])
    predicted = _predictions(clips[clips["clip"] != "tess/1-angry-0"])["clip"]
    fates = tables.clip_fates(clips, predicted=predicted, label_map=LABEL_MAP).set_index("fate")
    assert fates["all corpora"].to_dict() == {
        "held out and predicted": 37,
        "excluded: silent": 1,
        "outside the label set: calm": 12,
        "usable, but not held out by this protocol": 1,
        "files in all": 51,
        "training variants made from them": 1,
    }
    assert (fates["ravdess"] + fates["tess"] == fates["all corpora"]).all()


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
    assert "What &lt;this&gt; protocol measures." in text
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
    assert f"Part of a corpus only: {part}. Figures for the whole" in text
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
        assert caption.startswith("speaker ravdess/1 (female), 1.0 s. When it was held out, ")
        said = f"the answer was {answer} (probability {shares.loc[clip].max():.2f}, mean over 2 "
        verdict = "right." if answer == label else f"wrong, as {label} got "
        assert said + f"seeds): {verdict}" in caption
        svg = (reports / f"figures/example_{label}.svg").read_text()
        for drawn in (f"{label}: {clip}", "waveform", *FEATURES, "frequency (Hz)", "dimension"):
            assert f">{drawn}<" in svg
        for unit in ("power (dB)", "level (dB)", "value"):
            assert f">{unit}<" in svg
    assert not re.search(r"first 5 s|No clip was held out", text)


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


def test_a_long_clip_is_cut_and_that_is_said(run):
    text = (run(change=_lengthen) / "index.html").read_text()
    assert text.count("7.0 s of which the first 5 s are drawn") == 2  # caption and alternative text


def test_a_label_of_which_no_clip_was_held_out_is_named(run):
    reports = run(change=_hold_out_no_happy_clip)
    assert "<p>No clip was held out of: happy.</p>" in (reports / "index.html").read_text()
    examples = {path.stem for path in (reports / "figures").glob("example_*.png")}
    assert examples == {"example_angry", "example_sad"}


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
        run(change=change)


def test_speaker_dependence_is_said_everywhere(run):
    reports = run(dependent=True)
    assert json.loads((reports / "metrics.json").read_text())["protocol"] == (
        "random (speaker-dependent)"
    )
    for table in (reports / "tables").glob("*.csv"):
        assert set(pd.read_csv(table)["protocol"]) == {"random (speaker-dependent)"}
    drawn = list((reports / "figures").glob("*.svg"))
    assert len(drawn) == len(FIGURES)
    for figure in drawn:
        assert "speaker-dependent" in figure.read_text()
    text = (reports / "index.html").read_text()
    assert "3 shared speakers" in text
    assert "Speaker-dependent: the voices under test were also heard in training." in text
    for heading in ("Figures of merit", "By emotion", "By corpus", "By speaker"):
        assert f"<h2>{heading} (speaker-dependent)</h2>" in text


def test_demo_and_shared_speakers_are_said_whatever_the_settings_claim(run):
    reports = run(data="demo", dependent=True, admitted=False)
    assert "(speaker-dependent)" in (reports / "metrics.json").read_text()
    text = (reports / "index.html").read_text()
    assert "These are synthetic voices: figures here mean nothing for real speech" in text
    assert "small by design" in text and "expected, " not in text and "Part of a" not in text
    for figure in (reports / "figures").glob("*.svg"):
        assert "synthetic demo speech" in figure.read_text()
        assert "speaker-dependent" in figure.read_text()


def test_model_without_epochs_has_no_curves(run):
    reports = run(epochs=1)
    assert "One epoch only: 4 jobs" in (reports / "figures/history.svg").read_text()
    assert len(pd.read_csv(reports / "plots/learning_curves.csv")) == 1


def test_without_validation_clips_training_alone_is_drawn(run):
    def change(root):
        training = pd.read_csv(root / "reports/training.csv")
        none = training.assign(validation_loss=np.nan, validation_ua=np.nan)
        none.to_csv(root / "reports/training.csv", index=False)
        params = yaml.safe_load((root / "params.yaml").read_text())
        params["split"]["validation"] = 0
        (root / "params.yaml").write_text(yaml.safe_dump(params))

    reports = run(change=change)
    drawn = (reports / "figures/history.svg").read_text()
    assert ">train<" in drawn and "validation" not in drawn
    text = (reports / "index.html").read_text()
    assert "All clips that are not held out are trained on" in text
    assert "Validation falling behind" not in text
    curves = pd.read_csv(reports / "plots/learning_curves.csv")
    assert curves["validation_ua"].isna().all() and curves["train_ua"].notna().all()


def test_label_without_clips_and_constant_answers():
    clips = _clips()
    table = _predictions(clips)
    table = table[table["label"] != "sad"].assign(p_angry=1.0, p_happy=0.0, p_sad=0.0)
    predictions = tables.arrange(table, known=clips["clip"], name="predictions")
    metrics = tables.headline(predictions)
    assert metrics["ua"] == 0.5
    assert all(math.isfinite(value) for value in metrics.values())
    sad = tables.per_class(predictions).set_index("label").loc["sad"]
    assert sad["support"] == 0 and math.isnan(sad["recall"]) and sad["interval"] == ""


def test_one_speaker_gets_an_interval_over_clips():
    clips = _clips()
    table = _predictions(clips)
    table = table[table["speaker"] == "ravdess/1"]
    predictions = tables.arrange(table, known=clips["clip"], name="predictions")
    metrics = tables.headline(predictions)
    assert 0 < metrics["ua_high"] - metrics["ua_low"] < 1
    assert "ua_ravdess" not in metrics
    assert set(tables.per_class(predictions)["interval"]) == {"clips"}


def _spoil(column, value):
    def spoil(table):
        table = table.astype({column: object})
        table.loc[3, column] = value
        return table

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_spoil("p_angry", 2.0), "ravdess/1-angry-1: probabilities are not .* sum of 1"),
        (_spoil("p_angry", ""), "ravdess/1-angry-1: probabilities are not .* sum of 1"),
        (_spoil("p_angry", "nan"), "ravdess/1-angry-1: probabilities are not .* sum of 1"),
        (_spoil("label", "bored"), "ravdess/1-angry-1: its label has no column, want one of p_"),
        (_spoil("clip", "emodb/1"), "emodb/1: not in the clip table"),
        (_spoil("speaker", "x"), "ravdess/1-angry-1: corpus, speaker or label differ"),
        (lambda t: pd.concat([t, t.iloc[[5]]]), "ravdess/1-angry-2: predicted more than once"),
        (lambda t: t.drop(index=5), "ravdess/1-angry-2: not predicted for each of the seeds 0, 1"),
        (lambda t: t.drop(columns="fold"), r"columns missing \['fold'\]"),
        (lambda t: t.drop(columns=[f"p_{label}" for label in LABELS]), "0 probability columns"),
        (lambda t: t.iloc[:0], "0 rows"),
    ],
)
def test_bad_predictions_are_refused_by_name(tmp_path, spoil, message):
    clips = _clips()
    path = tmp_path / "predictions.csv"
    spoil(_predictions(clips)).to_csv(path, index=False)
    with pytest.raises(ValueError, match=message) as error:
        tables.read_predictions(path, known=clips["clip"])
    assert str(error.value).startswith(str(path))
