"""Tuning as a user runs it: in process, on made-up features, and with settings it refuses."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from joblib.externals.loky import get_reusable_executor
from omegaconf import OmegaConf
from optuna.trial import TrialState

from stages.running.entry import run_command
from studies import search, tune
from studies.composition import compose_params
from tests.support import ROOT
from tests.test_ablation import trained

BASE = ["corpora=[savee]", "model=svm", "features=[mfcc,zcr,rms]", "split=speaker"]
BASE += ["split.protocol.folds=3"]
PARAMETERS = {"model.network.c": {"low": 1e-5, "high": 1.0, "log": True}}


def describe(folder: Path, name: str = "costs", **changes) -> Path:
    path = folder / "conf/tune" / f"{name}.yaml"
    content = {"base": BASE, "trials": 6, "parameters": PARAMETERS} | changes
    OmegaConf.save(content, path)
    return path


def run(folder: Path, *arguments: str, workers: int = 1) -> str:
    """The program in this process; what it printed, or the message that it ended with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["tune", *arguments, "--workers", str(workers)])
        patch.chdir(folder)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            try:
                run_command(tune.main)
            except SystemExit as stop:
                return f"stopped: {stop.code}"
    return printed.getvalue()


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """A folder where the pipeline has run as far as `train`, with a copy of conf/."""
    folder = trained(tmp_path_factory.mktemp("tune"), *BASE)
    for source in (ROOT / "conf").rglob("*.yaml"):
        copy = folder / source.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    return folder


@pytest.fixture(scope="module")
def finished(pipeline):
    """The study, tuned by two processes, which live in its folder and so no longer than this."""
    get_reusable_executor().shutdown()
    printed = run(pipeline, str(describe(pipeline)), "--recipe", "best_cost", workers=2)
    get_reusable_executor().shutdown()
    assert not printed.startswith("stopped"), printed
    return pipeline, printed


def trials(folder: Path, name: str = "costs") -> pd.DataFrame:
    return pd.read_csv(folder / "reports/tune" / name / "trials.csv")


def test_every_trial_is_answered_and_the_best_is_a_recipe(finished):
    folder, printed = finished
    table = trials(folder)
    assert len(table) in (6, 7)  # the second process may have begun one more
    assert set(table["state"]) <= {"complete", "pruned"}
    complete = table[table["state"] == "complete"]
    highest = complete["validation_ua"].max()
    assert f"validation UA {highest:.3f} (speaker, synthetic demo speech)" in printed
    assert set(table["protocol"]) == {"speaker"}
    with initialize_config_dir(str(folder / "conf"), version_base=None):
        found = compose("config", ["+experiment=best_cost"])
    best = complete.loc[complete["validation_ua"] == highest, "model.network.c"]  # of equals any
    assert np.isclose(found.model.network.c, best, rtol=1e-6).any()
    assert found.model.name == "svm" and list(found.features) == ["mfcc", "zcr", "rms"]
    assert found.split.protocol.folds == 3
    for name in ("history.png", "history.svg", "best.yaml"):
        assert (folder / "reports/tune/costs" / name).stat().st_size > 0
    assert not (folder / "models/unfinished").exists()


def test_a_trial_is_worth_what_the_pipeline_says_of_validation_speakers(finished, monkeypatch):
    folder, _ = finished
    monkeypatch.chdir(folder)
    row = trials(folder).query("state == 'complete'").iloc[0]
    params = OmegaConf.load("params.yaml")
    params.model.network.c = float(row["model.network.c"])
    experiment = tune.read_experiment(OmegaConf.load("params.yaml"))
    plan = search.make_plan(
        experiment.clips,
        experiment.split,
        labels=experiment.labels,
        caches=search.CACHES,
        scratch=search.SCRATCH,
        logs=search.LOGS,
        settings=experiment.settings | {"model": OmegaConf.to_container(params.model)},
    )
    jobs = [job for job in search.all_jobs(experiment.split, [0]) if job.fold != "all"]
    monkeypatch.setattr("stages.learning.jobs.processes", lambda _: 1)
    search.run_jobs(jobs, plan)
    _, history = search.gather(jobs, plan)
    search.clean_up([plan])
    assert row["validation_ua"] == pytest.approx(history["validation_ua"].mean())


def test_test_clips_take_no_part(finished, monkeypatch):
    folder, _ = finished
    monkeypatch.chdir(folder)
    experiment = tune.read_experiment(OmegaConf.load("params.yaml"))
    table = search.validation_only(experiment.split)
    for fold in ("0", "1", "2"):
        tested = experiment.split[fold] == "test"
        assert tested.any() and (table.loc[tested, fold] == "").all()
        assert (table.loc[~tested, fold] == experiment.split.loc[~tested, fold]).all()


def test_a_study_goes_on_and_an_interrupted_trial_is_made_again(finished, monkeypatch):
    folder, _ = finished
    monkeypatch.chdir(folder)
    before = trials(folder)
    opened = optuna.load_study(
        study_name="costs", storage=search.open_storage(tune.JOURNALS / "costs.journal")
    )
    study = search.read_study(folder / "conf/tune/costs.yaml")
    lost = opened.ask(fixed_distributions=study.parameters)
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], **_TEXT)
    lost.set_user_attr("by", [search.socket.gethostname(), int(gone.stdout)])
    running = opened.ask(fixed_distributions=study.parameters)  # of this process: let alone
    running.set_user_attr("by", [search.socket.gethostname(), os.getpid()])
    assert "best: trial" in run(folder, str(describe(folder, trials=len(before) + 2)))
    again = [t for t in opened.get_trials() if t.user_attrs.get("again") == lost.number]
    assert len(again) == 1 and again[0].params == lost.params
    assert again[0].state in (TrialState.COMPLETE, TrialState.PRUNED)
    after = trials(folder)
    assert len(after) == len(before) + 2 and lost.number not in set(after["trial"])
    assert opened.get_trials()[running.number].state == TrialState.RUNNING


_TEXT = {"capture_output": True, "text": True, "check": True}


def test_settings_that_come_to_nothing_do_not_end_the_study(pipeline):
    costs = {"model.network.c": {"choices": [-1.0, 0.1]}}
    assert "best: trial" in run(
        pipeline, str(describe(pipeline, "broken", trials=4, parameters=costs))
    )
    table = trials(pipeline, "broken")
    failed = table["state"] == "fail"
    assert failed.any() and (table.loc[failed, "model.network.c"] == -1).all()
    assert (table.loc[~failed, "model.network.c"] > 0).all()
    assert table.loc[failed, "error"].str.contains("model.network.c: got -1.0").all()
    costs = {"model.network.c": {"choices": [-1.0]}}
    ended = run(pipeline, str(describe(pipeline, "worse", trials=1, parameters=costs)))
    assert "got no successful trial" in ended and "model.network.c: got -1.0" in ended
    assert not (pipeline / "reports/tune/worse").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "trials: got 0"),
        ({"parameters": {"model.network.c": {"low": 1}}}, "want {choices: [...]}"),
        ({"parameters": {"model.network.depth": {"low": 1, "high": 2}}}, "no such setting"),
        (
            {"parameters": {"train.schedule": {"choices": ["cosine"]}}},
            "train.schedule: got",
        ),
        ({"parameters": {"labels.name": {"choices": ["four"]}}}, "want a setting of audio,"),
        ({"base": ["model=alexnet"]}, "model/alexnet"),
        ({"base": BASE[:-1]}, "params.yaml: differs from base in split"),
    ],
)
def test_what_cannot_be_tuned_is_named(pipeline, changes, message):
    ended = run(pipeline, str(describe(pipeline, "bad", **changes)))
    assert ended.startswith("stopped: ") and message in ended
    assert not (pipeline / "models/tune/bad.journal").exists()


def test_options_and_nested_settings_are_tried_on_the_caches_that_are_there(pipeline, monkeypatch):
    """A svm ignores them, so what is trained with is looked at, not the figures."""
    trained_with, make_plan = [], search.make_plan

    def spy(*tables, settings, **others):
        trained_with.append(settings["train"])
        return make_plan(*tables, settings=settings, **others)

    monkeypatch.setattr(search, "make_plan", spy)
    options = {"cosine": "Cosine", "constant": "Constant"}
    parameters = {
        "train/schedule": {"choices": list(options)},
        "train.augment.mixup": {"low": 0.0, "high": 0.4},
    }
    path = describe(pipeline, "nested", trials=2, parameters=parameters)
    assert "-S train/schedule=" in run(pipeline, str(path))
    table = trials(pipeline, "nested")
    assert (table["state"] == "complete").all() and len(trained_with) == len(table) == 2
    recipe = pipeline / "conf/experiment/nested.yaml"
    shutil.copy(pipeline / "reports/tune/nested/best.yaml", recipe)
    with initialize_config_dir(str(pipeline / "conf"), version_base=None):
        found = compose("config", ["+experiment=nested"])
    recipe.unlink()
    assert found.train in trained_with
    for row, train in zip(table.to_dict("records"), trained_with, strict=True):
        assert train["augment"]["mixup"] == pytest.approx(row["train.augment.mixup"])
        schedule = f"stages.learning.schedules.{options[row['train/schedule']]}"
        assert train["schedule"] == {"_target_": schedule}


def test_other_settings_under_the_same_name_are_refused(finished):
    folder, _ = finished
    path = describe(folder, parameters={"model.network.c": {"low": 0.1, "high": 1.0}})
    assert "other parameters" in run(folder, str(path))


def test_a_recipe_is_never_overwritten(finished):
    folder, _ = finished
    recipe = folder / "conf/experiment/best_cost.yaml"
    before = recipe.read_bytes()
    assert "already exists" in run(folder, "conf/tune/costs.yaml", "--recipe", "best_cost")
    assert recipe.read_bytes() == before


def test_a_foreign_study_cannot_expand_without_limit(tmp_path):
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"bomb.yaml: alias: got '\*a0', want the value itself"):
        search.read_study(tmp_path / "bomb.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ValueError, match=r"pipe.yaml: size: got 0"):
        search.read_study(tmp_path / "pipe.yaml")


def test_importance_tells_what_matters_from_what_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    both = {"train.lr": {"low": 0.0, "high": 1.0}, "train.augment.noise": {"low": 0.0, "high": 1.0}}
    path = tmp_path / "made_up.yaml"
    OmegaConf.save({"base": [], "trials": 20, "parameters": both}, path)
    study = search.read_study(path)
    opened = search.open_study(study, tmp_path / "journal")
    assert tune.importances(opened) == {}
    for number in range(20):
        trial = opened.ask(fixed_distributions=study.parameters)
        trial.report(0.1, number)
        if number == 7:
            opened.tell(trial, state=TrialState.PRUNED)
        else:
            opened.tell(trial, trial.params["train.lr"] ** 2)
    shares = tune.importances(opened)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["train.lr"] > 0.8
    tune.write(study, opened, output=tmp_path / "report")
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        *("best.yaml", "history.png", "history.svg", "importance.png", "importance.svg"),
        "trials.csv",
    }
    table = pd.read_csv(tmp_path / "report/trials.csv").set_index("trial")
    assert table.loc[7, ["state", "validation_ua"]].tolist() == ["pruned", 0.1]


def test_a_study_of_known_voices_says_so_and_its_recipe_holds_that_of_its_base(
    tmp_path, monkeypatch
):
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    base = ["+experiment=mel_conv2d", "data=real", "corpora=[tess]", "train.epochs=7"]
    specs = {"train.lr": {"low": 0.0, "high": 1.0}}
    study = search.read_study(describe(tmp_path, "known", base=base, parameters=specs))
    opened = search.open_study(study, tmp_path / "journal")
    for _ in range(4):
        trial = opened.ask(fixed_distributions=study.parameters)
        opened.tell(trial, trial.params["train.lr"])
    tune.write(study, opened, output=tmp_path / "report")
    marks = ["speaker-dependent", "variants of one recording on both sides"]
    for name in ("history.svg", "importance.svg", "best.yaml", "trials.csv"):
        text = (tmp_path / "report" / name).read_text()
        assert all(mark in text for mark in marks), name
    shutil.copy(tmp_path / "report/best.yaml", tmp_path / "conf/experiment/known.yaml")
    best = f"train.lr={json.dumps(opened.best_value)}"
    wanted = compose_params([*base, best])
    assert compose_params(["+experiment=known"]) == wanted


def test_trials_of_the_same_settings_are_trained_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    content = {"base": BASE, "trials": 9, "parameters": {"model.network.c": {"choices": [0.1]}}}
    OmegaConf.save(content, tmp_path / "same.yaml")
    study = search.read_study(tmp_path / "same.yaml")
    opened = search.open_study(study, tmp_path / "journal")
    folders = []

    def stop(*_, scratch, **__):
        folders.append(scratch)
        raise InterruptedError

    monkeypatch.setattr(search, "make_plan", stop)
    split = pd.DataFrame({"clip": ["a", "b"], "label": "x", "0": ["test", "validation"]})
    found = tune.Experiment(None, split, ["x"], [0], {}, None)
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], **_TEXT)
    for number in range(3):
        trial = opened.ask(fixed_distributions=study.parameters)
        with pytest.raises(InterruptedError):
            search._train(trial, study, found)
        if number != 1:  # the second one goes on in its own process
            trial.set_user_attr("by", [search.socket.gethostname(), int(gone.stdout)])
            search.retry_interrupted(opened)
    assert folders[0] == folders[1] != folders[2]  # the second made the first again


@pytest.mark.parametrize("name", ["model.n_mels", "features.logmel.n_mels"])
def test_what_another_cache_takes_is_not_tried_on_those_that_are_there(tmp_path, monkeypatch, name):
    monkeypatch.chdir(ROOT)
    content = {"base": ["model=conv2d"], "trials": 1, "parameters": {name: {"choices": [64]}}}
    OmegaConf.save(content, tmp_path / "bands.yaml")
    assert not search.read_study(tmp_path / "bands.yaml").here


def history(**columns) -> pd.DataFrame:
    return pd.DataFrame({"fold": ["0", "0", "1", "1"], "seed": 0, "epoch": [1, 2, 1, 2], **columns})


def test_the_epoch_that_is_kept_counts():
    table = history(validation_ua=[0.9, 0.5, 0.2, 0.4])
    assert search.validated(table, patience=None) == pytest.approx(0.45)
    assert search.validated(table, patience=3) == pytest.approx(0.65)
    with pytest.raises(ValueError, match="split.validation"):
        search.validated(history(validation_ua=[None] * 4), patience=None)


@pytest.mark.parametrize("path", sorted((ROOT / "conf/tune").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_study_of_the_repository_can_be_read(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert search.read_study(path).parameters


def test_a_setting_of_a_feature_is_tried_through_dvc(tmp_path, monkeypatch):
    """The commands that are run, with DVC's part played: its own runs are tested elsewhere."""
    monkeypatch.chdir(ROOT)
    ran = []

    def dvc(command, **_):
        ran.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(search.subprocess, "run", dvc)
    table = history(validation_ua=[0.1, 0.5, 0.2, 0.4])
    text = pd.concat([table, table.assign(fold="all", validation_ua=0.99)]).to_csv(index=False)
    (tmp_path / "training.csv").write_text(text)
    monkeypatch.setattr(
        search.dvc.api, "open", lambda path, rev: (tmp_path / "training.csv").open()
    )
    specs = {"features.mfcc.n_mfcc": {"low": 13, "high": 40}}
    content = {"base": BASE, "trials": 1, "parameters": specs}
    OmegaConf.save(content, tmp_path / "bands.yaml")
    study = search.read_study(tmp_path / "bands.yaml")
    assert not study.here
    journal = tmp_path / "bands.journal"
    search.run_trials(study, journal, worker=1, experiment=None, tables=[])
    best = search.open_study(study, journal).best_trial
    assert best.value == pytest.approx(0.45)
    (command,) = ran
    assert command[1:] == [
        *("-m", "dvc", "exp", "run", "--temp", "--name", "bands-0"),
        *(part for item in BASE for part in ("-S", item)),
        *("-S", f"features.mfcc.n_mfcc={json.dumps(best.params['features.mfcc.n_mfcc'])}"),
    ]
