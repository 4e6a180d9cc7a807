"""One writer per output: what another process, a kill or a full disk leaves behind."""

import errno
import os
import shutil
import subprocess
import sys

import psutil
import pytest

from app.models import load_model
from stages.running import outputs, resources
from stages.running.outputs import complete, locked, replace_files, resumable
from stages.running.resources import check_disk, full_disk_named
from tests.support import ROOT


@pytest.fixture(autouse=True)
def listed_anew():
    """Folders are listed for leftovers once in a process."""
    outputs._sweep.cache_clear()


def disk_with(monkeypatch, free):
    usage = shutil._ntuple_diskusage(10**12, 10**12 - free, free)
    monkeypatch.setattr(resources.shutil, "disk_usage", lambda _: usage)


def python(code, **options):
    """A process that runs code of this project."""
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, **options
    )


def test_a_second_writer_is_refused_and_the_first_one_named(tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "_WAIT_S", 0)
    path = tmp_path / "x.csv"
    with complete(path) as part:
        part.write_text("first")
        with pytest.raises(ValueError, match=rf"{path}: .*process {os.getpid()} "), complete(path):
            raise AssertionError
    assert path.read_text() == "first" and os.listdir(tmp_path) == ["x.csv"]


def test_a_second_writer_waits_for_the_first(tmp_path, monkeypatch):
    first = complete(tmp_path / "x")
    first.__enter__().write_text("first")
    monkeypatch.setattr(outputs.time, "sleep", lambda _: first.__exit__(None, None, None))
    with complete(tmp_path / "x") as part:
        assert (tmp_path / "x").read_text() == "first"
        part.write_text("second")
    assert (tmp_path / "x").read_text() == "second" and os.listdir(tmp_path) == ["x"]


def test_the_lock_and_the_leftovers_of_a_killed_process_hold_nobody_up(tmp_path):
    code = (
        "import os, signal\nfrom pathlib import Path\nfrom stages.running.outputs import complete\n"
        f"with complete(Path({str(tmp_path)!r}, 'x')) as part:\n"
        "    part.mkdir()\n    (part / 'half').touch()\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    for name in ("x", "y"):  # the same output, and another in the same folder
        with python(code) as killed:
            assert killed.wait() < 0
        assert (tmp_path / ".part-x/x/half").is_file()
        outputs._sweep.cache_clear()
        with complete(tmp_path / name) as part:
            part.write_text("whole")
            assert name == "x" or not (tmp_path / ".part-x").exists()
        assert (tmp_path / name).read_text() == "whole"
    assert sorted(os.listdir(tmp_path)) == ["x", "y"]


def test_what_a_live_process_writes_and_what_is_not_ours_stays(tmp_path):
    (tmp_path / ".part-mine").mkdir()
    (tmp_path / ".part-mine" / "notes.txt").touch()
    with complete(tmp_path / "x") as part:
        part.write_text("slow")
        outputs._sweep.cache_clear()
        with complete(tmp_path / "y") as other:
            other.write_text("quick")
        assert part.read_text() == "slow"
    assert sorted(os.listdir(tmp_path)) == [".part-mine", "x", "y"]
    assert (tmp_path / ".part-mine" / "notes.txt").exists()


def test_a_file_system_without_locks_is_written_to(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(outputs.fcntl, "flock", refuse)
    with complete(tmp_path / "x") as part:
        part.write_text("whole")
    assert (tmp_path / "x").read_text() == "whole" and os.listdir(tmp_path) == ["x"]


def test_finished_parts_stay_if_a_run_fails_and_go_when_it_ends(tmp_path):
    folder = tmp_path / "unfinished" / "key"
    with pytest.raises(RuntimeError), resumable(folder):
        (folder / "job").mkdir(parents=True)
        raise RuntimeError
    assert os.listdir(folder) == ["job"] and os.listdir(folder.parent) == ["key"]
    with resumable(folder):
        assert os.listdir(folder) == ["job"]
    assert not folder.parent.exists()


def test_files_of_a_folder_are_replaced_one_by_one_or_not_at_all(tmp_path):
    folder = tmp_path / "export"
    replace_files(folder, {"a": b"1", "b": b"1"})
    with pytest.raises(TypeError):
        replace_files(folder, {"a": b"2", "b": None})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"a": b"1", "b": b"1"}
    replace_files(folder, {"a": b"2"})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"a": b"2"}


@pytest.mark.parametrize(
    ("error", "free"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 10**9),
        (OSError(errno.EDQUOT, "Quota exceeded"), 10**9),
        (OSError("217792 requested and 0 written"), 1000),
        (RuntimeError("unexpected pos 217792 vs 217686"), 1000),
    ],
)
def test_a_disk_that_became_full_is_named(tmp_path, monkeypatch, error, free):
    path = tmp_path / "x.npy"
    path.write_text("old")
    disk_with(monkeypatch, free)
    with (
        pytest.raises(ValueError, match=rf"^{path}: .* [\d.]+ .B are free in {tmp_path}"),
        complete(path) as part,
    ):
        part.write_text("half")
        raise error
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["x.npy"]


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), FileNotFoundError(2, "none")])
def test_other_errors_stay_what_they_are(tmp_path, monkeypatch, error):
    disk_with(monkeypatch, 10**9 if type(error) is RuntimeError else 0)
    with pytest.raises(type(error)) as raised, full_disk_named(tmp_path):
        raise error
    assert raised.value is error


def test_the_copy_in_the_cache_of_dvc_counts(tmp_path, monkeypatch):
    disk_with(monkeypatch, 15_000_000)
    monkeypatch.setattr(resources.sys, "platform", "linux")
    monkeypatch.delenv("DVC_STAGE", raising=False)
    check_disk("it", need=10_000_000, folder=tmp_path / "not" / "yet")
    monkeypatch.setenv("DVC_STAGE", "merge")
    message = rf"^it takes 10.0 MB .* DVC's cache; 15.0 MB are free in {tmp_path}$"
    with pytest.raises(ValueError, match=message):
        check_disk("it", need=10_000_000, folder=tmp_path / "not" / "yet")


@pytest.mark.slow
@pytest.mark.parametrize("shell", [False, True])
def test_a_stage_ends_when_dvc_is_killed(shell):
    stage = "import stages, time; print('begun', flush=True); time.sleep(60)"
    command = ["sh", "-c", f'{sys.executable} -c "{stage}"; true'] if shell else None
    code = (
        "import os, subprocess, sys\n"
        f"command = {command!r} or [sys.executable, '-c', {stage!r}]\n"
        "child = subprocess.Popen(command, stdout=subprocess.PIPE, "
        "env=os.environ | {'DVC_STAGE': 'train'})\n"
        "child.stdout.readline(); print(child.pid, flush=True); sys.stdin.read()"
    )
    with python(code, stdin=subprocess.PIPE, start_new_session=True) as dvc:
        child = psutil.Process(int(dvc.stdout.readline()))
        running = [child, *child.children(recursive=True)]
        dvc.kill()
        assert not psutil.wait_procs(running, timeout=20)[1]


def test_a_model_that_a_checkout_is_replacing_is_waited_for(tmp_path, monkeypatch):
    path = tmp_path / "inflect.onnx"
    monkeypatch.setattr("app.models.time.sleep", lambda _: path.write_bytes(b"arrived"))
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_model(path)


def test_a_lock_is_held_for_a_name_that_nothing_has_yet(tmp_path):
    with locked(tmp_path / "models" / "key") as folder:
        assert folder.is_dir() and not (tmp_path / "models" / "key").exists()
    assert list((tmp_path / "models").iterdir()) == []
