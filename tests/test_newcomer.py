"""A corpus is one module and one yaml: check, prepare and merge find it, and nothing else changes.

In a copy of the pipeline, with its own DVC, as a user would do it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from dvc.utils.hydra import compose_and_dump

from stages.clips.clip_table import read_clips
from tests.support import ROOT

ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
}
MODULE = '''
import re
from pathlib import Path

from stages.sources.files import parse_names

HOW_TO_GET = """\\
TOY: https://example.org/toy
Put it into toy/."""


def read(root: Path, *, loud: str) -> list[dict]:
    def describe(name: re.Match) -> dict:
        emotion = loud if name["emotion"] == "loud" else "neutral"
        return {"clip": name[0].strip("/"), "speaker": name["speaker"], "emotion": emotion}

    pattern = r"(?P<speaker>[a-z]+)_(?P<emotion>loud|plain)"
    return parse_names(root, pattern=pattern, form="ann_loud", describe=describe)
'''
OPTION = """
toy:
  reader:
    _target_: stages.corpora.toy.read
    loud: angry
"""


@pytest.fixture
def pipeline(tmp_path):
    for folder in ("conf", "stages"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    (tmp_path / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", tmp_path / ".dvc")
    (tmp_path / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    (tmp_path / "stages" / "corpora" / "toy.py").write_text(MODULE)
    (tmp_path / "conf" / "corpora" / "toy.yaml").write_text(OPTION)
    overrides = ["data=real", "corpora=[toy]"]
    compose_and_dump(
        tmp_path / "params.yaml", str(tmp_path / "conf"), None, "config", os.devnull, overrides
    )
    return tmp_path


def repro(folder, *, fails=False):
    result = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "merge"],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert (result.returncode != 0) == fails, result.stdout
    return result.stdout


def test_a_corpus_is_one_module_and_one_yaml(pipeline):
    toy = pipeline / "data" / "raw" / "toy"
    printed = repro(pipeline, fails=True)
    assert f"toy: no folder {toy}\nTOY: https://example.org/toy\nPut it into toy/." in printed
    toy.mkdir(parents=True)
    names = ("ann_loud", "ann_plain", "bob_loud", "bob_plain", "noise")
    for seed, name in enumerate(names):
        samples = np.random.default_rng(seed).normal(0, 0.1, 16000)
        soundfile.write(toy / f"{name}.wav", samples, 22050)
    repro(pipeline)
    clips = read_clips(pipeline / "data" / "merged" / "clips.csv")
    used = clips[clips["excluded"] == ""]
    assert list(zip(used["clip"], used["speaker"], used["emotion"], strict=True)) == [
        ("toy/ann_loud", "toy/ann", "angry"),
        ("toy/ann_plain", "toy/ann", "neutral"),
        ("toy/bob_loud", "toy/bob", "angry"),
        ("toy/bob_plain", "toy/bob", "neutral"),
    ]
    assert list(clips.loc[clips["excluded"] != "", "clip"]) == ["toy/noise"]

    toy.rename(toy.with_name("gone"))
    assert f"No such file or directory: '{toy}'" in repro(pipeline, fails=True)
