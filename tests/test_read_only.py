"""Commands that compile code work where neither the source nor the home can be written to."""

import os
from pathlib import Path

import pytest

from stages.running import machine_code


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
