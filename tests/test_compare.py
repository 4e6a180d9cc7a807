"""The comparison of experiments: its statistics, what it refuses, and as its user runs it."""

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.collections import LineCollection, PathCollection
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from stages.reporting import drawing
from stages.running.entry import run_command
from studies import compare as program
from studies import comparison, comparison_page

ROOT = Path(__file__).parents[1]
LABELS = ["angry", "happy", "sad"]
SPLIT = {"name": "loso", "title": "one speaker held out at a time", "speaker_dependent": False}
SETTINGS = {"data.name": "real", "model.name": "gru", "features": {"mfcc": {}}, "split": SPLIT}
LEAKAGE = {"speaker_dependent": False}
#: Instead of figures, where what they look like does not matter.
NOT_DRAWN = {f"{name}.png": bytes(20) for name in comparison_page.FIGURES}


def predictions(
    *, seed: int, right: float, seeds: tuple[int, ...] = (0,), speakers: int = 6
) -> pd.DataFrame:
    """Six speakers with six clips of each label, of which a share is recognised."""
    rng = np.random.default_rng(seed)
    rows = [
        {"clip": f"x/{s}-{label}-{take}", "speaker": f"x/{s}", "label": label, "fold": s, "seed": n}
        for s in range(speakers)
        for label in LABELS
        for take in range(6)
        for n in seeds
    ]
    table = pd.DataFrame(rows).assign(corpus="x", sex="")
    truth = table["label"].map(LABELS.index).to_numpy()
    answer = np.where(rng.random(len(table)) < right, truth, rng.integers(3, size=len(table)))
    table[[f"p_{label}" for label in LABELS]] = 0.1 + 0.7 * np.eye(3)[answer]
    return table


def experiment(name: str, table: pd.DataFrame, **changes: object) -> comparison.Result:
    leakage = changes.pop("leakage", LEAKAGE)
    return comparison.arrange_result(
        table, name=name, commit=name, settings=SETTINGS | changes, leakage=leakage
    )


def ua_of(table: pd.DataFrame) -> float:
    """UA of a table of predictions, mean over seeds, by scikit-learn."""
    answers = table[[f"p_{label}" for label in LABELS]].idxmax(axis=1).str.removeprefix("p_")
    runs = [(run["label"], answers[run.index]) for _, run in table.groupby("seed")]
    return float(np.mean([balanced_accuracy_score(*run) for run in runs]))


def test_a_calibrated_experiment_is_compared_on_the_same_clips_alone():
    """With calibration.statistics=none, the same clips are left out of the score."""
    whole = predictions(seed=0, right=0.5)
    scored = whole[~whole["clip"].str.endswith("-0")]
    section = {"name": "speaker", "clips": 3, "statistics": "mean"}
    knowing = LEAKAGE | {"calibration": section}
    leaving = LEAKAGE | {"calibration": section | {"statistics": "none"}}
    known = experiment("known", scored, leakage=knowing)
    with pytest.raises(ValueError, match="90 test clips against 108"):
        comparison.check_comparable([known, experiment("whole", whole)])
    fair = experiment("fair", scored, leakage=leaving)
    found = comparison.compare_results([fair, known], pairs=[(0, 1)])
    said = "loso (speaker-calibrated, 3 unlabelled clips)"
    assert found.experiments["protocol"].iloc[1] == said
    assert found.notes == [*fair.notes, *known.notes] == found.shared == found.calibration


# Statistics


def test_mcnemar_is_the_exact_binomial_test_of_discordant_clips():
    rng = np.random.default_rng(2)
    ours, theirs = rng.random((2, 80, 1)) < [[[0.7]], [[0.5]]]
    better, worse, p = comparison.mcnemar(ours, theirs)
    table = pd.crosstab(ours[:, 0], theirs[:, 0])
    assert (better, worse) == (table.loc[True, False], table.loc[False, True])
    tail = stats.binom.cdf(min(better, worse), better + worse, 0.5)
    assert p == pytest.approx(min(2 * tail, 1))
    assert comparison.mcnemar(theirs, ours) == (worse, better, pytest.approx(p))
    assert comparison.mcnemar(ours, ours) == (0, 0, 1.0)


def test_mcnemar_counts_a_clip_once_however_many_seeds_there_are():
    ours = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1], [1, 0, 0]], dtype=bool)
    theirs = np.array([[0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 1]], dtype=bool)
    assert comparison.mcnemar(ours, theirs) == (2, 1, 1.0)
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(4, 1\), want one equal"):
        comparison.mcnemar(ours, theirs[:, :1])


def test_holm_by_hand():
    found = comparison.holm([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(found, [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(comparison.holm([0.6, 0.7, 0.01]), [1.0, 1.0, 0.03])
    np.testing.assert_allclose(comparison.holm([0.2]), [0.2])


# Tables


@pytest.fixture(scope="module")
def three():
    """Three experiments' predictions, one of them with two seeds and its columns turned round."""
    tables = {
        "svm": predictions(seed=0, right=0.4),
        "gru": predictions(seed=1, right=0.5, seeds=(0, 1)),
        "cnn": predictions(seed=2, right=0.9),
    }
    names = [name for name in tables["cnn"] if not name.startswith("p_")]
    tables["cnn"] = tables["cnn"][[*names, "p_sad", "p_happy", "p_angry"]]
    experiments = [experiment(name, table) for name, table in tables.items()]
    return tables, comparison.compare_results(experiments, pairs=[(0, 1), (0, 2), (1, 2)])


def test_figures_are_those_of_scikit_learn(three):
    tables, found = three
    own = found.experiments.set_index("experiment")
    for name, table in tables.items():
        assert own.loc[name, "ua"] == pytest.approx(ua_of(table))
        assert own.loc[name, "ua_low"] < own.loc[name, "ua"] < own.loc[name, "ua_high"]
    assert own["seeds"].tolist() == [1, 2, 1]
    assert own["ua_seed_sd"].isna().tolist() == [True, False, True]
    for row in found.differences.itertuples():
        ahead = ua_of(tables[row.experiment]) - ua_of(tables[row.reference])
        assert row.difference == pytest.approx(ahead)
        assert row.difference_low < row.difference < row.difference_high
        assert (row.interval, row.units, row.mcnemar_seeds) == ("speakers", 6, 1)
    np.testing.assert_allclose(found.differences["p_holm"], comparison.holm(found.differences["p"]))
    by_clip = {name: table[table["seed"] == 0].set_index("clip") for name, table in tables.items()}
    right = {
        name: table[[f"p_{label}" for label in LABELS]].idxmax(axis=1) == "p_" + table["label"]
        for name, table in by_clip.items()
    }
    first = found.differences.iloc[0]
    assert first["clips_better"] == (right["gru"] & ~right["svm"]).sum()
    assert first["clips_worse"] == (~right["gru"] & right["svm"]).sum()


def test_difference_of_each_class(three):
    tables, found = three
    assert found.classes["label"].tolist() == LABELS * 3
    for row in found.classes.itertuples():
        recalls = []
        for name in (row.reference, row.experiment):
            table = tables[name][tables[name]["label"] == row.label]
            answers = table[[f"p_{label}" for label in LABELS]].idxmax(axis=1)
            recalls.append(np.mean(answers == f"p_{row.label}"))
        assert [row.recall_reference, row.recall] == pytest.approx(recalls)
        assert row.difference == pytest.approx(recalls[1] - recalls[0])
        assert row.difference_low <= row.difference <= row.difference_high
        assert (row.clips, row.units, row.interval) == (36, 6, "speakers")


def test_one_speaker_is_compared_by_clips():
    pair = [
        experiment(name, predictions(seed=seed, right=0.6, speakers=1))
        for seed, name in enumerate("ab")
    ]
    found = comparison.compare_results(pair, pairs=[(0, 1)])
    assert found.differences.loc[0, ["interval", "units"]].tolist() == ["clips", 18]
    assert "18 clips of one speaker" in comparison_page.sentences(found)[0]
    page = comparison_page.render(found, drawn=NOT_DRAWN)
    assert "leaving out one clip" in page and "leaves out one speaker" not in page


# Refusals


def changed(**facts):
    """Another value in some columns of the first three clips."""

    def change(table):
        chosen = table["clip"].isin(sorted(set(table["clip"]))[:3])
        for name, value in facts.items():
            table[name] = table[name].where(~chosen, value)
        return table

    return change


def other_label(table):
    return table.rename(columns={"p_sad": "p_fear"}).replace({"label": {"sad": "fear"}})


def fewer(table):
    return table[table["speaker"] != "x/0"]


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (fewer, {}, "108 test clips against 90: 18 only in a, such as x/0-angry-0; 0 only in b"),
        (
            changed(label="sad"),
            {},
            "label for 3 of 108 shared test clips, such as x/0-angry-0: angry against sad",
        ),
        (changed(speaker="x/9"), {}, "speaker for 3 of 108 shared test clips"),
        (changed(fold=5), {}, "fold for 3 of 108 shared test clips, such as"),
        (other_label, {}, "labels angry, happy, sad against angry, fear, happy"),
        (None, {"split": SPLIT | {"name": "speaker"}}, "protocol loso against speaker"),
        (None, {"data.name": "demo"}, "data real against demo"),
        (
            None,
            {"leakage": {"speaker_dependent": True}},
            "protocol loso against loso (speaker-dependent)",
        ),
    ],
)
def test_what_was_not_tested_alike_is_refused(change, settings, message):
    table = predictions(seed=1, right=0.5)
    pair = [
        experiment("a", predictions(seed=0, right=0.5)),
        experiment("b", change(table) if change else table, **settings),
    ]
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        comparison.compare_results(pair, pairs=[(0, 1)])
    assert str(error.value).startswith("a and b cannot be compared: ")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: pd.concat([t, t.iloc[[0]]]), "predicted more than once for one seed"),
        (lambda t: t.assign(p_sad=0.9), "with a sum of 1"),
        (lambda t: t.drop(columns=["fold", "seed"]), "got no column fold, seed"),
    ],
)
def test_bad_predictions_are_named(spoil, message):
    with pytest.raises(ValueError, match=f"b: predictions.*{message}"):
        experiment("b", spoil(predictions(seed=0, right=0.5)))


def test_a_run_with_more_corpora_to_train_on_is_compared_and_says_so():
    more = SPLIT | {"train_only": ["tess"]}
    pair = [
        experiment("a", predictions(seed=0, right=0.5)),
        experiment("b", predictions(seed=1, right=0.5), split=more),
    ]
    found = comparison.compare_results(pair, pairs=[(0, 1)])
    both = ["loso", "loso (trained on tess as well)"]
    assert found.experiments["protocol"].tolist() == both
    assert set(found.differences["protocol"]) == {"; ".join(both)}


def test_settings_that_earlier_versions_lack_are_named_if_they_matter():
    split = {"name": "x", "speaker_dependent": False}
    pair = [
        experiment(name, predictions(seed=seed, right=0.5), split=split)
        for seed, name in enumerate("ab")
    ]
    assert comparison.compare_results(pair, pairs=[(0, 1)]).title == "x"
    with pytest.raises(ValueError, match="b: got no settings split.speaker_dependent"):
        experiment("b", predictions(seed=0, right=0.5), split={"name": "x"})


# Figures and page


class Reader(HTMLParser):
    """What a page refers to, its figures, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.references, self.images, self.words = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.images += [value for name, value in attrs if name == "src"]
        self.references += [value for name, value in attrs if name == "href"]

    def handle_data(self, data):
        self.words.append(data)


def test_page_needs_nothing_beside_it_and_says_what_came_out(three):
    _, found = three
    html = comparison_page.render(found, drawn=NOT_DRAWN)
    page = Reader(html)
    text = " ".join(" ".join(page.words).split())
    assert page.references == [] and len(page.images) == 3
    assert all(image.startswith("data:image/png;base64,") for image in page.images)
    for fact in (
        *comparison_page.sentences(found),
        "3 comparisons",
        "different numbers of seeds",
        "McNemar's exact test",
    ):
        assert fact in text, fact
    assert "speaker-dependent" not in html and "synthetic" not in html


def test_everything_of_a_speaker_dependent_demo_says_so():
    settings = {"split": SPLIT | {"name": "random", "speaker_dependent": True}}
    pair = [
        experiment(name, predictions(seed=seed, right=0.6), **settings, **{"data.name": "demo"})
        for seed, name in enumerate("ab")
    ]
    found = comparison.compare_results(pair, pairs=[(0, 1)])
    drawn = comparison_page.draw(found)
    for name in ("differences.svg", "ua.svg", "classes.svg"):
        assert b"speaker-dependent" in drawn[name] and b"synthetic demo speech" in drawn[name]
    page = comparison_page.render(found, drawn=drawn)
    assert "<strong>Speaker-dependent:" in page and "mean nothing for real speech" in page
    for table in (found.experiments, found.differences, found.classes):
        assert set(table["protocol"]) == {"random (speaker-dependent)"}


def test_dots_and_intervals_stand_where_the_table_says(three):
    _, found = three
    with drawing.style():
        drawn = comparison_page.differences_figure(found)
    axes = drawn.axes[0]
    dots, lines = (
        next(c for c in axes.collections if isinstance(c, kind))
        for kind in (PathCollection, LineCollection)
    )
    table = found.differences
    np.testing.assert_allclose(dots.get_offsets()[:, 0], table["difference"])
    ends = np.array([line[:, 0] for line in lines.get_segments()])
    np.testing.assert_allclose(ends, table[["difference_low", "difference_high"]])
    full = ~np.isclose(dots.get_facecolors()[:, :3], 1.0).all(axis=1)
    assert full.tolist() == (table["p_holm"] < 0.05).tolist() and set(full) == {True, False}
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["gru\nvs. svm", "cnn\nvs. svm", "cnn\nvs. gru"]


def test_sentences():
    row = {"reference": "a", "experiment": "b", "interval": "speakers", "units": 10}
    row |= {"difference_low": 0.01, "difference_high": 0.07}
    table = pd.DataFrame(
        [
            row | {"difference": 0.04, "p": 0.012, "p_holm": 0.024},
            row | {"difference": -0.04, "p": 0.03, "p_holm": 0.06},
            row | {"difference": 0.0, "p": 1.0, "p_holm": 1.0},
        ]
    )
    found = comparison.Comparison(table, table, table, [], [], [], [], [], "")
    ahead, behind, same = comparison_page.sentences(found)
    assert ahead == (
        "b is ahead of a by 0.040 UA (95 % interval +0.010 to +0.070, p = 0.012, corrected for 3 "
        "comparisons p = 0.024): the choice of 10 speakers alone hardly explains that."
    )
    assert "b is behind a by 0.040 UA" in behind and "alone could explain that" in behind
    assert same.startswith("b and a have the same UA (")


# As its user runs it


ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "GIT_AUTHOR_NAME": "test",
    "GIT_AUTHOR_EMAIL": "test@example.org",
    "GIT_COMMITTER_NAME": "test",
    "GIT_COMMITTER_EMAIL": "test@example.org",
}
PIPELINE = {
    "stages": {
        "train": {
            "cmd": "cp made/${model.name}.csv data/predictions.csv && "
            "cp made/leakage.json reports/leakage.json",
            "deps": ["made"],
            "params": ["model"],
            "outs": ["data/predictions.csv", "reports/leakage.json"],
        },
        "evaluate": {
            "cmd": "true",
            "deps": ["data/predictions.csv", "reports/leakage.json"],
            "params": ["data.name", "features", "model.name", "split"],
        },
    }
}
WRITTEN = {
    *("index.html", "comparison.csv", "classes.csv", "experiments.csv"),
    *(f"{n}.{k}" for n in ("differences", "ua", "classes") for k in ("png", "svg")),
}


def call(folder: Path, *command: str) -> str:
    run = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A repository whose pipeline only copies predictions, and three experiments in it."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("made", "data", "reports", ".dvc"):
        (folder / name).mkdir()
    shutil.copy(ROOT / ".gitignore", folder)
    shutil.copy(ROOT / ".dvcignore", folder)
    (folder / ".dvc/config").write_text("[core]\n    analytics = false\n")
    shutil.copy(ROOT / ".dvc/.gitignore", folder / ".dvc")
    tables = {
        "svm": predictions(seed=0, right=0.4),
        "gru": predictions(seed=1, right=0.9, seeds=(0, 1)),
        "few": fewer(predictions(seed=2, right=0.5)),
    }
    for name, table in tables.items():
        table.to_csv(folder / f"made/{name}.csv", index=False)
    (folder / "made/leakage.json").write_text(json.dumps(LEAKAGE))
    (folder / "reports/metrics.json").write_text("{}")
    (folder / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
    params = {"data": {"name": "real"}, "features": {"mfcc": {}}, "model": {"name": "none"}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params | {"split": SPLIT}))
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"], ["tag", "start"]):
        call(folder, "git", *command)
    for name in ("svm", "gru"):
        flags = ("-q", "-n", name, "-S", f"model.name={name}")
        call(folder, sys.executable, "-m", "dvc", "exp", "run", *flags)
    exps = call(folder, "git", "for-each-ref", "--format=%(refname)", "refs/exps/*/*/svm").strip()
    call(folder, "git", "tag", "v1", exps)
    return folder, tables


def compared(folder, capsys, *arguments: str) -> tuple[int | str | None, str]:
    """Run the program in a folder; how it ended (None: well), and what it printed."""
    ended = None
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["compare", *arguments])
        try:
            run_command(program.main)
        except SystemExit as error:
            ended = error.code
    printed = capsys.readouterr()
    return ended, printed.out + printed.err


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not {".git", "tmp"} & set(path.relative_to(folder).parts)
    }


def test_two_experiments_are_compared_and_nothing_else_is_touched(project, capsys):
    folder, tables = project
    before = snapshot(folder)
    status = call(folder, "git", "status", "--porcelain")
    ended, printed = compared(folder, capsys, "svm", "gru")
    assert ended is None
    output = folder / "reports/comparison"
    assert {path.name for path in output.iterdir()} == WRITTEN
    after = snapshot(folder)
    assert {name for name in after if name not in before} == {
        f"reports/comparison/{name}" for name in WRITTEN
    }
    assert all(after[name] == content for name, content in before.items())
    assert call(folder, "git", "status", "--porcelain") == status
    row = pd.read_csv(output / "comparison.csv").iloc[0]
    assert row[["reference", "experiment"]].tolist() == ["svm", "gru"]
    assert row["difference"] == pytest.approx(ua_of(tables["gru"]) - ua_of(tables["svm"]), abs=1e-5)
    own = pd.read_csv(output / "experiments.csv").set_index("experiment")
    assert own["model"].to_dict() == {"svm": "svm", "gru": "gru"}
    assert own["protocol"].tolist() == ["loso", "loso"]
    assert "gru is ahead of svm by" in printed and "108 clips, 6 speakers" in printed
    assert b"\r" not in (output / "comparison.csv").read_bytes()
    # again, over what was written the first time, and byte for byte
    ended, _ = compared(folder, capsys, "svm", "gru")
    assert ended is None and snapshot(folder) == after


def tables_of(folder, capsys, *arguments: str) -> comparison.Comparison:
    """What the program would write, which is not drawn."""
    kept = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "contents", lambda found: kept.append(found) or {})
        ended, _ = compared(folder, capsys, *arguments)
    assert ended is None
    return kept[0]


def test_tags_commits_and_the_workspace_are_experiments(project, capsys, tmp_path):
    folder, _ = project
    commit = call(folder, "git", "rev-parse", "v1").strip()
    for number, names in enumerate((("v1", "workspace"), (commit[:10], "gru"))):
        found = tables_of(folder, capsys, *names, "--output", str(tmp_path / str(number)))
        assert found.experiments["model"].tolist() == ["svm", "gru"]
    assert found.experiments["experiment"].tolist() == [f"svm ({commit[:7]})", "gru"]


def test_each_with_the_first_or_each_with_each(project, capsys, tmp_path):
    folder, _ = project
    for flags, rows in (((), 2), (("--pairs",), 3)):
        output = str(tmp_path / f"{rows}")
        found = tables_of(folder, capsys, "svm", "gru", "workspace", *flags, "--output", output)
        table = found.differences
        pairs = [("svm", "gru"), ("svm", "workspace"), ("gru", "workspace")]
        assert list(zip(table["reference"], table["experiment"], strict=True)) == pairs[:rows]
        np.testing.assert_allclose(table["p_holm"], comparison.holm(table["p"]))
    assert table.loc[2, ["difference", "clips_better", "clips_worse"]].tolist() == [0, 0, 0]
    assert table.loc[2, "p"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["svm", "nobody"], "nobody: no such experiment"),
        (["svm", ""], "got an empty name"),
        (["svm", "start"], "start: no dvc.lock"),
        (["svm", "v1"], "svm and v1 are the same"),
        (["gru", "gru"], "gru and gru are the same"),
        (["svm", "gru", "--output", "made"], "made: already exists"),
    ],
)
def test_what_cannot_be_compared_is_refused(project, capsys, arguments, message):
    folder, _ = project
    before = snapshot(folder)
    ended, _ = compared(folder, capsys, *arguments)
    assert message in ended
    assert snapshot(folder) == before


def test_one_experiment_alone_is_wrong_use(project, capsys):
    ended, printed = compared(project[0], capsys, "svm")
    assert ended == 2 and "got only svm" in printed


@pytest.fixture
def copy(project, tmp_path):
    """A copy of the repository, to be spoilt."""
    return Path(shutil.copytree(project[0], tmp_path / "copy", symlinks=True))


def test_a_users_file_in_the_output_folder_is_not_lost(copy, capsys):
    notes = copy / "reports/comparison/notes.txt"
    notes.parent.mkdir(exist_ok=True)
    notes.write_text("mine")
    ended, _ = compared(copy, capsys, "svm", "gru")
    assert ended.startswith("reports/comparison: would lose notes.txt")
    assert notes.read_text() == "mine"


def test_predictions_that_are_no_longer_cached_are_named(copy, capsys):
    lock = yaml.safe_load(call(copy, "git", "show", "v1:dvc.lock"))
    outs = {out["path"]: out["md5"] for out in lock["stages"]["train"]["outs"]}
    md5 = outs["data/predictions.csv"]
    (copy / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).unlink()
    ended, _ = compared(copy, capsys, "svm", "gru")
    assert ended.startswith("svm: data/predictions.csv is missing from the DVC cache")


def test_a_workspace_whose_files_do_not_belong_together_is_refused(copy, capsys):
    path = copy / "data/predictions.csv"
    content = path.read_text()
    path.unlink()
    path.write_text(content + "\n")
    ended, _ = compared(copy, capsys, "svm", "workspace")
    assert ended == "workspace: data/predictions.csv differs from dvc.lock; run `dvc repro`"
    lock = yaml.safe_load((copy / "dvc.lock").read_text())
    lock["stages"]["train"]["outs"][0]["md5"] = "0" * 32
    (copy / "dvc.lock").write_text(yaml.safe_dump(lock))
    ended, _ = compared(copy, capsys, "svm", "workspace")
    assert ended.startswith("workspace: data/predictions.csv is not the one that was evaluated")
    del lock["stages"]["evaluate"]
    (copy / "dvc.lock").write_text(yaml.safe_dump(lock))
    ended, _ = compared(copy, capsys, "svm", "workspace")
    assert ended.startswith("workspace: dvc.lock has no stage evaluate")


def test_a_name_of_several_experiments_is_refused_with_their_commits(copy, capsys):
    before, flags = call(copy, "git", "rev-parse", "--short=7", "HEAD").strip(), ("-qm", "next")
    call(copy, "git", "checkout", "-q", "HEAD", "--", ".")
    for name in ("first", "second"):
        call(copy, "git", "commit", "--allow-empty", *flags)
        old = call(copy, "git", "for-each-ref", "--format=%(objectname)", "refs/exps/*/*/svm")
        head = call(copy, "git", "rev-parse", "HEAD").strip()
        if name == "first":
            ref = f"refs/exps/{head[:2]}/{head[2:]}/svm"
            call(copy, "git", "update-ref", ref, old.split()[0])
    ended, _ = compared(copy, capsys, "svm", "gru")
    assert ended.startswith("svm: 2 experiments have this name")
    assert f"(run on {before})" in ended


def test_a_later_run_leaves_the_comparison_alone(copy, capsys):
    notes = copy / "reports/comparison/index.html"
    notes.parent.mkdir(exist_ok=True)
    notes.write_text("of an earlier time")
    flags = ("-q", "-n", "few", "-S", "model.name=few")
    call(copy, sys.executable, "-m", "dvc", "exp", "run", *flags)
    ended, _ = compared(copy, capsys, "svm", "few")
    assert "108 test clips against 90: 18 only in svm, such as x/0-angry-0" in ended
    assert notes.read_text() == "of an earlier time"
