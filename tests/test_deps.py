"""dvc.yaml and the layout: a stage depends on what its code reaches, and on nothing else."""

import re
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter

import pytest
from omegaconf import OmegaConf

from stages.running.code import ROOT, has_code, imports, reached
from tests.support import composed

STAGES = OmegaConf.to_container(OmegaConf.load(ROOT / "dvc.yaml"), resolve=False)["stages"]
#: Folders of what people add to: settings name their modules, no import does.
PLUGINS = ("acoustics", "corpora", "degradations", "networks", "protocols", "variants")
#: Stage -> folders of which its settings name any module, or one, and other modules they name.
ANY = {
    "check": ["corpora"],
    "merge": ["variants"],
    "exportable": ["acoustics"],
    "robustness": ["degradations", "acoustics"],
    "evaluate": ["corpora", "acoustics"],
    "export": ["acoustics"],
}
ONE = {
    "prepare": "corpora/${key}",
    "features": "acoustics/${key}",
    "split": "protocols/${split.name}",
    "exportable": "networks/${model.name}",
    "train": "networks/${model.name}",
    "robustness": "networks/${model.name}",
    "evaluate": "networks/${model.name}",
    "export": "networks/${model.name}",
}
OTHERS = {"exportable": ["stages.learning.training"], "train": ["stages.learning.training"]}
#: Sets the number of threads and nothing else, so it changes no result.
WITHOUT_RESULT = "stages/__init__.py"


def modules(folder: str) -> list[str]:
    """Dotted names of a plug-in folder's modules."""
    files = sorted((ROOT / "stages" / folder).glob("*.py"))
    return [f"stages.{folder}.{file.stem}" for file in files if file.stem != "__init__"]


def named(files) -> set[str]:
    return {file.relative_to(ROOT).as_posix() for file in files} - {WITHOUT_RESULT}


def needed(stage: str) -> set[str]:
    """Files that a stage's code reaches, and the one that its settings name as dvc.yaml does."""
    own = [f"stages.{stage}", *OTHERS.get(stage, [])]
    files = named(
        reached(own + [name for folder in ANY.get(stage, []) for name in modules(folder)])
    )
    if stage in ONE:
        files.add(f"stages/{ONE[stage]}.py")
        for name in modules(ONE[stage].partition("/")[0]):
            files |= named(reached([name])) - {name.replace(".", "/") + ".py"}
    return files


def declared(stage: str) -> set[str]:
    """Files of code that the dependencies of a stage stand for."""
    files = set()
    for dep in STAGES[stage].get("do", STAGES[stage])["deps"]:
        # Or the folder, where a model has members; see below.
        dep = dep.replace("${model_code}", "stages/networks/${model.name}.py")
        if (ROOT / dep).is_dir():
            files |= named(filter(has_code, (ROOT / dep).rglob("*.py")))
        elif dep.endswith(".py"):
            files.add(dep)
    return files


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_what_it_reaches_and_on_nothing_else(stage):
    assert f"python -m stages.{stage}" in STAGES[stage].get("do", STAGES[stage])["cmd"]
    got, want = declared(stage), needed(stage)
    assert (sorted(want - got), sorted(got - want)) == ([], []), "missing, not needed"


def test_a_model_of_members_depends_on_every_network():
    for name, code in (
        ("cnn_gru", "stages/networks/cnn_gru.py"),
        ("svm", "stages/networks/svm.py"),
    ):
        assert composed(f"model={name}")["model_code"] == code
    for name in ("ensemble", "distil"):
        assert composed(f"model={name}")["model_code"] == "stages/networks"


def test_the_report_depends_on_its_templates_and_on_the_label_sets():
    assert {"stages/reporting", "conf/labels"} <= set(STAGES["evaluate"]["deps"])


def test_raw_corpora_are_no_output():
    for name, stage in STAGES.items():
        for out in stage.get("do", stage).get("outs", []):
            assert not str(out).startswith(("data/raw", "remote://")), name


def test_entry_modules_stay_thin():
    for path in (ROOT / "stages").glob("*.py"):
        lines = len(path.read_text().splitlines())
        assert lines < 60, f"{path.name}: got {lines} lines, want fewer than 60"


def folders_imported() -> dict[str, set[str]]:
    """Folders of stages that each one imports from."""
    graph: dict[str, set[str]] = {}
    for file in (ROOT / "stages").glob("*/**/*.py"):
        own = file.relative_to(ROOT / "stages").parts[0]
        folders = {name.split(".")[1] for name in imports(file) if name.startswith("stages.")}
        folders = {name for name in folders if (ROOT / "stages" / name).is_dir()}
        graph.setdefault(own, set()).update(folders - {own})
    return graph


def test_folders_import_each_other_in_one_direction():
    TopologicalSorter(folders_imported()).prepare()  # a CycleError names the circle


def test_folders_import_what_the_architecture_page_allows():
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (`.*) \| (.*)\|$", text.partition("## Who may import whom")[2], re.M)
    allowed: dict[str, set[str]] = {}
    for folders, others in rows:
        for folder in re.findall(r"`(\w+)`", folders):
            allowed.setdefault(folder, set()).update(re.findall(r"`(\w+)`", others))
    for folder, others in folders_imported().items():
        assert others <= allowed[folder], folder


def test_a_module_name_occurs_once():
    """Plug-ins are named by their group, as in variants=[pitch] and features=[pitch]."""
    files = [file for top in ("stages", "app", "studies") for file in (ROOT / top).rglob("*.py")]
    files = [file for file in files if file.name != "__init__.py"]
    counts = Counter(file.stem for file in files if file.parent.name not in PLUGINS)
    assert [name for name, count in counts.items() if count > 1] == []
    plugins = Counter(file.stem for file in files if file.parent.name in PLUGINS)
    # conf/corpora=table and `python -m studies.table` are both published, as are the feature
    # compare, named by its challenge, and `python -m studies.compare`.
    assert {name for name in plugins if name in counts} <= {"table", "compare"}


def test_every_folder_says_what_lives_in_it():
    for top in ("stages", "app", "studies", "benchmarks"):
        for package in [ROOT / top / "__init__.py", *(ROOT / top).glob("*/__init__.py")]:
            assert len(package.read_text().split()) > 10, package


def test_stages_start_without_libraries_that_take_seconds_to_import():
    # `train` needs torch, and `demo` filters with scipy.
    stages = sorted({*STAGES, "fetch"} - {"train", "demo"})
    slow = {"torch", "sklearn", "matplotlib", "scipy.stats", "onnx", "librosa", "noisereduce"}
    code = "import sys\n"
    for stage in stages:
        code += f"import stages.{stage}\nif loaded := {slow!r} & set(sys.modules):\n"
        code += f"    sys.exit(f'stages.{stage}: {{loaded}}')\n"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
