"""Settings name code only where a group of settings has some; all else in them is a value."""

import ast

import pytest
import torch
from omegaconf import OmegaConf

from stages.clips.completeness import read_release
from stages.learning.checkpoints import build_network, read_checkpoint
from stages.learning.learner import build_learner
from stages.settings.loading import bind, load_params, module_of
from tests.support import ROOT, composed

FOLDERS = {"acoustics", "corpora", "degradations", "learning", "networks", "protocols", "variants"}
#: Names of code that settings must not reach; each would write or delete something if called.
FOREIGN = (
    "pathlib.Path.write_text",
    "os.system",
    "builtins.exec",
    "pandas.read_pickle",
    "torch.load",
    "dvc.cli.main",
    "stages.running.outputs.complete",
    "stages.running.outputs._remove",
    "stages.networks.svm.SVM",  # of another folder than asked for
    "stages.acoustics.rms._energy",
    "stages.acoustics._private.rms",
    "stages.acoustics.rms.torch",  # imported there, defined elsewhere
    "stages.acoustics.rms.torch.load",
    "stages.acoustics..rms.rms",
    "stages.acoustics.rms.rms\n",
    "stages.acoustics.missing.missing",
    "stages.acoustics.rms.missing",
    "stages.acoustics.rms",
    "rms",
    "",
    None,
    7,
    ["stages.acoustics.rms.rms"],
)


@pytest.mark.parametrize("name", FOREIGN)
def test_code_is_reached_only_where_a_group_has_it(name):
    for find in (bind, module_of):
        with pytest.raises(ValueError, match="_target_: got .*want a public function or class of"):
            find({"_target_": name}, "acoustics")


def test_a_target_is_missed():
    with pytest.raises(ValueError, match="_target_: got None"):
        bind({}, "acoustics")


def test_arguments_are_values(tmp_path):
    rms = composed("features=[rms]")["features"]["rms"]
    evil = {"_target_": "pathlib.Path.touch", "self": str(tmp_path / "x")}
    for value in (evil, [evil], {"a": evil}, {"a": [{"b": evil}]}):
        with pytest.raises(ValueError, match="sample_rate: got a `_target_`"):
            bind(rms | {"sample_rate": value}, "acoustics")
        with pytest.raises(ValueError, match="sample_rate: got a `_target_`"):
            bind(OmegaConf.create(rms | {"sample_rate": value}), "acoustics")
    assert not list(tmp_path.iterdir())
    assert bind(rms, "acoustics").keywords == {k: v for k, v in rms.items() if k != "_target_"}


def test_nested_sections_of_a_training_are_its_own():
    params = composed("model=gru")
    build_learner(params)
    for key, want in (("schedule", "_target_"), ("augment", "_target_"), ("lr", "lr")):
        train = params["train"] | {key: {"_target_": "os.getcwd"}}
        with pytest.raises(ValueError, match=f"{want}: got"):
            build_learner(params | {"train": train})


def test_a_foreign_checkpoint_runs_nothing(tmp_path):
    """Its settings say what network to build, and so could name anything."""
    for network in (
        {"_target_": "pathlib.Path.touch", "self": str(tmp_path / "x")},
        composed("model=gru")["model"]["network"]
        | {"dropout": {"_target_": "pathlib.Path.touch", "self": str(tmp_path / "x")}},
    ):
        params = composed("model=gru")
        params["model"]["network"] = network
        sections = {name: params[name] for name in ("audio", "features", "model", "train")}
        state = {"labels": ["a", "b"], "inputs": {"mfcc": 1}, "state": {}}
        torch.save(sections | state, tmp_path / "model.pt")
        with pytest.raises(ValueError, match="_target_"):
            build_network(read_checkpoint(tmp_path / "model.pt"))
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_names_of_a_release_come_from_its_corpus():
    release = composed("corpora=[ravdess]")["corpora"]["ravdess"]["release"]
    assert len(read_release(release).names) == 1440
    with pytest.raises(ValueError, match="_target_"):
        read_release(release | {"names": {"_target_": "os.listdir"}})


def test_every_call_says_which_folder_it_means_and_nothing_else_makes_objects_of_settings():
    calls = 0
    for folder in ("stages", "app", "studies", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            assert "instantiate" not in text and "get_method" not in text, path
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "bind":
                    last = node.args[1]
                    inside = path.name == "loading.py" and isinstance(last, ast.Name)
                    assert inside or last.value in FOLDERS, path
                    calls += 1
    assert calls > 15


LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)
ECHOES = "a0: x\n" + "".join(f"a{n}: ${{a{n - 1}}}${{a{n - 1}}}\n" for n in range(1, 60))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (LAUGHS, r"alias: got '\*a0'"),
        ("a: &a {b: *a}", r"alias: got '\*a'"),
        ("a: &a {b: 1}\nc:\n  <<: *a", "alias: got"),
        (ECHOES, "reference: got '\\${a0}"),
        ("a: ${oc.env:HOME}", "reference: got"),
        ("[" * 9999, "nesting: got 51"),
        ("- 1\n- 2", "content: got 'ListConfig'"),
        ("a: [", "params.yaml: "),
        ("a: !!python/object/apply:os.getcwd []", "constructor"),
        ("\x00", "params.yaml: "),
        ("a: 1\na: 2", "params.yaml: "),
    ],
)
def test_settings_that_expand_or_are_none_are_refused(text, wanted, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=wanted) as refusal:
        load_params(path)
    message = str(refusal.value)
    assert message.startswith(f"{path}: ") and "want settings" in message and "\n" not in message


def test_composed_settings_are_read_as_they_are(tmp_path):
    assert load_params(ROOT / "params.yaml") == OmegaConf.load(ROOT / "params.yaml")
    for path, kind in ((tmp_path / "none.yaml", FileNotFoundError), (tmp_path, ValueError)):
        with pytest.raises(kind, match=str(path)):
            load_params(path)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff")
    with pytest.raises(ValueError, match="latin.yaml: "):
        load_params(tmp_path / "latin.yaml")
