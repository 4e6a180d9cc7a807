"""Commands that compile code work where neither the source nor the home can be written to."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from app.models import PRETRAINED
from stages.running import machine_code
from stages.synthesis.demo_corpora import write_corpus
from tests.support import ROOT, composed

ISOLATED = ("unshare", "-rm", "sh", "-ec")


@pytest.mark.parametrize(
    ("writable", "temporary"),
    [
        ((".cache", "stages", "packages"), False),
        ((".cache",), False),
        (("stages", "packages"), False),
        (("stages",), True),
        (("packages",), True),
        ((), True),
    ],
    ids=str,
)
def test_compiled_code_has_a_folder(writable, temporary, tmp_path, monkeypatch):
    """Permission is denied by a patch, because tests may run as root."""
    for name in ("home", "temporary"):
        (tmp_path / name).mkdir()
    removed = []
    monkeypatch.setattr("os.environ", {"HOME": str(tmp_path / "home")})
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr("atexit.register", lambda work, *given, **_: removed.append(given))
    places = {
        ".cache": tmp_path / "home",
        "stages": Path(machine_code.__file__).parents[1],
        "packages": Path(machine_code.sysconfig.get_path("purelib")),
    }
    allowed = [places[name] for name in writable]
    monkeypatch.setattr("os.access", lambda folder, _: folder in allowed)
    machine_code.place_machine_code()
    made = list((tmp_path / "temporary").iterdir())
    assert len(made) == temporary and removed == [(str(folder),) for folder in made]
    assert os.environ.get("NUMBA_CACHE_DIR") == (str(made[0]) if made else None)
    if made:
        assert made[0].stat().st_mode & 0o777 == 0o700


def test_a_folder_that_was_chosen_stays(monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/chosen")
    monkeypatch.setattr("os.access", lambda *_: False)
    machine_code.place_machine_code()
    assert os.environ["NUMBA_CACHE_DIR"] == "/chosen"


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or subprocess.run([*ISOLATED, "mount -t tmpfs x /mnt"]).returncode != 0,
    reason="wants Linux, and the right to mount in a namespace of one's own",
)
def test_commands_work_where_corpora_and_home_are_read_only(tmp_path):
    """The file systems refuse to be written to, which even root cannot get around."""
    kept = {name: tmp_path / name for name in ("corpora", "home")}
    for folder in kept.values():
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")
    write_corpus("emodb", folder=kept["corpora"] / "emodb", speakers=2, sentences=1)
    project = tmp_path / "project"
    project.mkdir()
    settings = composed("data=real", f"data.root={kept['corpora']}", "corpora=[emodb]")
    OmegaConf.save(settings, project / "params.yaml")
    before = {folder: contents(folder) for folder in kept.values()}
    binds = [
        f"mount --bind {folder} {folder}; mount -o remount,bind,ro {folder}; "
        f"if touch {folder}/new; then exit 9; fi"
        for folder in kept.values()
    ]
    python = f"{shlex.quote(sys.executable)} -m"
    speech = f"{kept['corpora']}/emodb --model {ROOT / PRETRAINED}"
    commands = [
        f"{python} stages.prepare emodb",
        f"{python} app.predict {speech} --format json > answers.json",
    ]
    result = subprocess.run(
        [*ISOLATED, "; ".join([*binds, *commands])],
        cwd=project,
        env=os.environ | {"HOME": str(kept["home"]), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert {folder: contents(folder) for folder in kept.values()} == before
    rows = json.loads((project / "answers.json").read_text())
    assert len(rows) > 5 and not any("error" in row for row in rows)
    assert (project / "data/corpora/emodb/clips.csv").is_file()
