"""The notebook: its cells run in order, its commands are accepted, and no output is committed.

IPython is not among the requirements. Its two notations in the cells, `!command` and `%cd folder`,
become calls.
"""

import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
import soundfile

from app import predict
from tests.support import ROOT, speech_like
from tests.test_docs import check

NOTEBOOK = ROOT / "notebooks" / "quickstart.ipynb"
METRICS = {"ua": 0.5, "ua_low": 0.25, "ua_high": 0.75}
METRICS |= {"n_clips": 12, "n_speakers": 3, "protocol": "by speaker"}


def cells(kind: str) -> list[dict]:
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == kind]


def run_cells(monkeypatch, folder: Path, shell, **parameters) -> None:
    """Run all cells in a folder; parameters replace those of the first."""
    shown = ModuleType("IPython.display")
    shown.Image = lambda name: Path(name).read_bytes()
    shown.display = lambda *pictures: None
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    monkeypatch.setenv("PATH", os.environ["PATH"])  # restored afterwards
    monkeypatch.chdir(folder)
    names = {"_shell": shell, "_cd": os.chdir}
    for cell in cells("code"):
        text = "".join(cell["source"])
        text = re.sub(r"^( *)!(.+)$", r"\1_shell(f'''\2''')", text, flags=re.M)
        text = re.sub(r"^( *)%cd (.+)$", r"\1_cd(f'''\2''')", text, flags=re.M)
        exec(text, names)
        if "parameters" in cell["metadata"].get("tags", ()):
            assert set(parameters) <= set(names)
            names |= parameters


def test_no_output_is_committed():
    notebook = json.loads(NOTEBOOK.read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in cells("code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None


def test_links_lead_somewhere():
    text = "".join("".join(cell["source"]) for cell in cells("markdown"))
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links and all((NOTEBOOK.parent / link).is_file() for link in links)


@pytest.mark.parametrize("demo", [True, False])
def test_the_cells_run_in_order(demo, exported, tmp_path, monkeypatch, capsys):
    """With stand-ins for what downloads or trains: test_pipeline has a real run behind it."""
    done = []
    clone = tmp_path / "inflect"

    def write_speech(folder: str) -> None:
        (clone / folder).mkdir(parents=True)
        soundfile.write(clone / folder / "a.wav", speech_like(32000, rate=16000), 16000)

    def shell(command: str) -> None:
        match shlex.split(command):
            case ["git", "clone", "--quiet", "ADDRESS", "inflect"]:
                (clone / "models").mkdir(parents=True)
                (clone / "dvc.yaml").touch()
                shutil.copytree(ROOT / "models" / "pretrained", clone / "models" / "pretrained")
            case ["python", "-m", "app.predict", *arguments]:
                assert Path.cwd() == clone
                monkeypatch.setattr(sys, "argv", ["app.predict", *arguments])
                with pytest.raises(SystemExit, match="False"):  # no file has an error
                    predict.main()
            case ["python", "-m", "stages.fetch", *arguments] as words:
                check(words)
                if "--accept-licence" in arguments:
                    write_speech("data/raw/emodb/wav")
            case ["dvc", "exp", "run", *_] as words:
                check(words)
                if demo:
                    write_speech("data/demo/emodb/wav")
                (clone / "reports" / "figures").mkdir(parents=True)
                (clone / "reports" / "metrics.json").write_text(json.dumps(METRICS))
                for name in ("confusion", "recall"):
                    (clone / "reports" / "figures" / f"{name}.png").touch()
                (clone / "models" / "export").mkdir()
                shutil.copy(exported, clone / "models" / "export" / "inflect.onnx")
            case words:
                check(words)
        done.append(shlex.split(command)[:3])

    run_cells(monkeypatch, tmp_path, shell, DEMO=demo, REPOSITORY="ADDRESS")
    fetched = [] if demo else 2 * [["python", "-m", "stages.fetch"]]
    start = [["git", "clone", "--quiet"], ["make", "setup"], *fetched, ["dvc", "exp", "run"]]
    assert done == [*start, *3 * [["python", "-m", "app.predict"]]]
    printed = capsys.readouterr().out
    assert "UA 0.500, 95 % interval 0.250 to 0.750" in printed
    assert printed.count("emotion") == 3 and "surprise" in printed
    assert os.environ["PATH"].startswith(f"{clone}/.venv/bin{os.pathsep}")
