"""The pipeline as its user runs it: DVC commands in a clone, on small corpora.

One clone is carried through a story, because each command takes seconds: the demo, then a user's
own corpus, then changes of settings. Tests read what each chapter left behind.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from types import ModuleType

import pandas as pd
import pytest
import soundfile
from dvc.repo import Repo
from dvc.utils.hydra import compose_and_dump

from stages import check, prepare
from stages.clips.clip_table import read_clips
from stages.running.entry import run_command
from stages.synthesis.demo_corpora import write_corpus
from studies import table
from tests.support import ROOT, inside
from tests.test_notebook import run_cells

ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "GIT_AUTHOR_NAME": "test",
    "GIT_AUTHOR_EMAIL": "test@example.org",
    "GIT_COMMITTER_NAME": "test",
    "GIT_COMMITTER_EMAIL": "test@example.org",
    "PYTHONDONTWRITEBYTECODE": "",  # or each of many processes would compile the same modules
}
REAL = ("data=real", "corpora=[emodb]", "split.protocol.folds=3", "model=gru", "train.epochs=2")
REAL += ("degradations=[telephone]",)
#: Chapters take less time on one core, where no stage starts processes that import all libraries.
ONE_CORE = {min(os.sched_getaffinity(0))}
UNFINISHED = ("Queued", "Running")  # of dvc queue status


class Project:
    """A clone of the repository, as it stands in the working tree."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file() and name != "dvc.lock":
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
            subprocess.run(["git", *command], cwd=folder, env=ENVIRONMENT, check=True)

    def run(self, *command: str, fails: bool = False, cores: set[int] | None = None) -> str:
        """Run a command of Python's module folder, `dvc` or `stages.x`; all that it printed."""
        # A pipe would be read until DVC's worker, which has it as well, has ended.
        with TemporaryFile("w+") as printed:
            result = subprocess.run(
                [sys.executable, "-m", *command],
                cwd=self.folder,
                env=ENVIRONMENT,
                stdout=printed,
                stderr=subprocess.STDOUT,
                preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
            )
            printed.seek(0)
            text = printed.read()
        assert (result.returncode != 0) == fails, text
        return text

    def exp_run(self, *overrides: str, **options) -> str:
        flags = [flag for override in overrides for flag in ("-S", override)]
        return self.run("dvc", "exp", "run", *flags, **options)

    def changed_by(self, *overrides: str) -> set[str]:
        """The stages whose own settings, dependencies or outputs these settings change.

        What follows from those runs again only if their results differ, and is not among them.
        """
        with self.settings(*overrides), chdir(self.folder), Repo() as repo:
            return set(repo.status())

    @contextmanager
    def settings(self, *overrides: str) -> Iterator[None]:
        """Have other settings in params.yaml for a while."""
        params = self.folder / "params.yaml"
        before = params.read_bytes()
        compose_and_dump(
            params, str(self.folder / "conf"), None, "config", os.devnull, list(overrides)
        )
        try:
            yield
        finally:
            params.write_bytes(before)

    def predictions(self) -> pd.DataFrame:
        return pd.read_csv(self.folder / "data" / "predictions.csv")


def refused(project: Project, stage: ModuleType, *arguments: str) -> str:
    """The message that a stage ends with."""
    with pytest.raises((SystemExit, ValueError)) as stop:
        inside(project.folder, stage.main, *arguments)
    return str(stop.value)


def snapshot(folder: Path) -> dict[str, tuple[int, str]]:
    """Every file below a folder: when it was changed, and what it holds."""
    return {
        path.relative_to(folder).as_posix(): (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def demo(project):
    """Chapter one: the demo up to its predictions, with two corpora and the quickest model."""
    with project.settings("model=svm", "corpora=[emodb,savee]", "features=[zcr]"):
        project.run("dvc", "repro", "train", cores=ONE_CORE)
    return project.predictions()


@pytest.fixture(scope="module")
def real(project, demo):
    """Chapter two: a user's own copy of one corpus, in the default place, with files beside it."""
    raw = project.folder / "data" / "raw"
    write_corpus("emodb", folder=raw / "emodb", speakers=3, sentences=2)
    (raw / "emodb" / "wav" / "broken.wav").write_bytes(b"")
    (raw / "emodb" / "wav" / "03b10Wa.wav").write_bytes(b"not audio")
    (raw / "notes.txt").write_text("mine")
    before = snapshot(raw)
    printed = project.exp_run(*REAL, cores=ONE_CORE)
    assert snapshot(raw) == before
    return printed, project.predictions()


def test_demo_runs_offline(demo):
    assert set(demo["corpus"]) == {"emodb", "savee"}
    assert set(demo["fold"]) == set(range(5))


def test_leftovers_of_earlier_choices_do_not_enter(project, real):
    _, predictions = real
    raw = {path.stem for path in (project.folder / "data/raw/emodb").rglob("*.wav")}
    clips = set(predictions["clip"].str.removeprefix("emodb/"))
    assert clips == raw - {"broken", "03b10Wa"}
    assert set(predictions["fold"]) == {0, 1, 2}
    metrics = json.loads((project.folder / "reports/metrics.json").read_text())
    assert metrics["n_clips"] == len(predictions) and metrics["n_speakers"] == 3
    assert metrics["n_folds"] == 3 and not any(key.startswith("ua_s") for key in metrics)
    models = {path.name for path in (project.folder / "models/folds").iterdir()}
    assert models == {f"fold_{fold}-seed_0.pt" for fold in (0, 1, 2, "all")}
    assert not (project.folder / "models/unfinished").exists()


def test_degraded_clips_are_measured_where_that_is_chosen(project, real):
    table = pd.read_csv(project.folder / "reports/robustness.csv")
    assert table["degradation"].tolist() == ["clean", "telephone"]
    ua = json.loads((project.folder / "reports/metrics.json").read_text())["ua"]
    assert table["ua"][0] == pytest.approx(ua, abs=0.05)  # caches are of float16
    assert (project.folder / "reports/figures/robustness.svg").is_file()


def test_files_that_cannot_be_used_keep_their_rows(project, real):
    printed, _ = real
    clips = read_clips(project.folder / "data/merged/clips.csv").set_index("file")
    assert clips.loc["wav/broken.wav", "excluded"].startswith("name does not parse: got wav/broken")
    assert clips.loc["wav/03b10Wa.wav", "excluded"].startswith("cannot be decoded")
    assert "emodb: 1 excluded, cannot be decoded" in printed
    assert "emodb: 1 excluded, name does not parse" in printed


def test_nothing_changed_means_nothing_runs(project, real):
    assert project.changed_by(*REAL) == set()


def test_table_for_other_tools_has_a_row_per_clip(project, real, tmp_path):
    output = tmp_path / "table.csv"
    inside(project.folder, table.main, "--output", str(output))
    written = pd.read_csv(output)
    predicted = project.predictions().drop_duplicates("clip").set_index("clip")["label"]
    assert written.set_index("clip")["label"].to_dict() == predicted.to_dict()
    assert "mfcc_39_p95" in written and not any(name.startswith("zcr") for name in written)
    with pytest.raises(SystemExit, match="already exists"):
        inside(project.folder, partial(run_command, table.main), "--output", str(output))


def test_the_notebook_shows_what_a_run_left(project, real, monkeypatch, capsys):
    """Its cells after training, which chapter two has done."""
    answers = []

    def shell(command: str) -> None:
        match shlex.split(command):
            case ["python", "-m", "app.predict", *arguments]:
                answers.append(project.run("app.predict", *arguments))

    run_cells(monkeypatch, project.folder / "notebooks", shell)
    metrics = json.loads((project.folder / "reports/metrics.json").read_text())
    assert f"UA {metrics['ua']:.3f}, 95 %" in capsys.readouterr().out
    one, windows, own = (answer.splitlines() for answer in answers)
    assert "03a01" in one[-1] and len(windows) > len(one) and "surprise" in own[0]


@pytest.mark.parametrize(
    ("override", "stages"),
    [
        (
            "model=bigru",
            {"features@zcr", "features@rms", "exportable", "train", "robustness", "evaluate"}
            | {"export"},
        ),
        ("train.lr=0.01", {"train"}),
        ("seeds=[0,1]", {"train", "robustness", "evaluate", "export"}),
        ("features.mfcc.n_mfcc=20", {"features@mfcc", "exportable", "train", "evaluate"}),
        ("labels=six", {"split", "train", "evaluate"}),
        ("split=loso", {"split", "robustness", "evaluate"}),
        ("degradations=[]", {"check", "robustness"}),
        ("export=false", {"exportable", "export"}),
        ("audio.level=peak", {"prepare@emodb", "merge", "exportable", "train"}),
    ],
)
def test_a_setting_re_runs_only_what_it_concerns(project, real, override, stages):
    settings = [s for s in REAL if "protocol" not in s or "split" not in override]
    assert project.changed_by(*settings, override) == stages


def test_a_users_files_survive_every_command(project, real):
    raw = project.folder / "data" / "raw"
    samples, rate = soundfile.read(raw / "emodb/wav/03a01Wa.wav")
    soundfile.write(raw / "emodb/wav/03a01Wa.wav", samples[: len(samples) // 2], rate)
    (raw / "emodb" / "wav" / "broken.wav").write_bytes(b"edited")
    soundfile.write(raw / "emodb" / "wav" / "03a01Wz.wav", samples[::-1], rate)
    before = snapshot(raw)
    project.run("dvc", "repro", "merge", cores=ONE_CORE)
    assert snapshot(raw) == before
    assert "emodb/03a01Wz" in set(read_clips(project.folder / "data/merged/clips.csv")["clip"])
    project.run("dvc", "remote", "modify", "--local", "corpora", "url", str(raw))
    # What matters here is what DVC does with files, in folders of its own.
    flags = [flag for override in (*REAL, "audio.sample_rate=8000") for flag in ("-S", override)]
    printed = project.run("dvc", "exp", "run", "--queue", *flags, "prepare")
    (name,) = re.findall("Queued experiment '(.*)' for future", printed)
    project.run("dvc", "queue", "start")  # in a process of its own
    with chdir(project.folder), Repo() as repo:
        queue = repo.experiments.celery_queue
        for _ in range(200):
            if not any(task["status"] in UNFINISHED for task in queue.status()):
                break
            time.sleep(0.5)
        queue.shutdown()  # the worker, which would wait for more
        assert [task["status"] for task in queue.status()] == ["Success"]
        assert snapshot(raw) == before
        path = "data/corpora/emodb/clips.csv"
        with repo.switch(name), repo.dvcfs.open(path) as file:
            queued = pd.read_csv(file)["samples"].sum()
        here = pd.read_csv(path)["samples"].sum()
    assert here == pytest.approx(2 * queued, rel=0.1)  # ends are trimmed


def test_missing_corpus_says_where_it_was_looked_for_and_how_to_get_it(project, real):
    with project.settings("data=real", "corpora=[tess,savee]"):
        printed = refused(project, check)
    for name in ("tess", "savee"):
        assert f"{name}: no folder {project.folder / 'data/raw' / name}" in printed
    assert "OAF_angry" in printed and "dvc remote modify --local corpora url" in printed


def test_corpus_without_demo_speech_is_named(project, real):
    with project.settings("corpora=[emodb,emovdb]"):
        printed = refused(project, check)
    assert "emovdb: no demo speech, want -S data=real" in printed


def test_empty_corpus_folder_is_named(project, real):
    (project.folder / "data/raw/tess").mkdir()
    with project.settings("data=real", "corpora=[tess]"):
        printed = refused(project, prepare, "tess")
    assert "data/raw/tess: no audio file below it, got nothing" in printed


def test_unknown_choice_is_named_and_changes_nothing(project, real):
    params = (project.folder / "params.yaml").read_bytes()
    printed = project.exp_run("model=alexnet", fails=True)
    assert "model/alexnet" in printed
    assert (project.folder / "params.yaml").read_bytes() == params
