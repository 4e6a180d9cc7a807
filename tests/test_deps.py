"""dvc.yaml: what a stage imports, it also names as a dependency."""

import ast
from pathlib import Path

import pytest
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[1]
STAGES = OmegaConf.to_container(OmegaConf.load(ROOT / "dvc.yaml"), resolve=False)["stages"]
#: Sets the number of threads and nothing else, so it changes no result.
WITHOUT_RESULT = {"stages/__init__.py"}


def imported(module: Path, seen: set[str]) -> set[str]:
    """First-party modules that a module imports, at any depth, at the top or in a function."""
    name = module.relative_to(ROOT).as_posix()
    if name in seen:
        return seen
    seen.add(name)
    for node in ast.walk(ast.parse(module.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for dotted in names:
            if dotted.partition(".")[0] in ("stages", "app", "benchmarks"):
                path = ROOT / dotted.replace(".", "/")
                for file in (path.with_suffix(".py"), path / "__init__.py"):
                    if file.is_file():
                        imported(file, seen)
    return seen


@pytest.mark.parametrize("stage", STAGES)
def test_deps_cover_imports(stage):
    body = STAGES[stage].get("do", STAGES[stage])
    deps = [dep for dep in body["deps"] if dep.startswith("stages/")]
    entry = ROOT / "stages" / f"{stage}.py"
    assert f"python -m stages.{stage}" in body["cmd"]
    for module in imported(entry, set()) - WITHOUT_RESULT:
        covered = any(module == dep or module.startswith(f"{dep}/") for dep in deps)
        package = Path(module).name == "__init__.py" and not (ROOT / module).read_text().strip()
        assert covered or package, f"{stage} imports {module}"


@pytest.mark.parametrize(
    ("stage", "folder", "group"),
    [
        ("prepare", "stages/corpora", "${key}"),
        ("train", "stages/networks", "${model.name}"),
        ("evaluate", "stages/networks", "${model.name}"),
        ("robustness", "stages/networks", "${model.name}"),
        ("exportable", "stages/networks", "${model.name}"),
        ("export", "stages/networks", "${model.name}"),
    ],
)
def test_chosen_module_and_what_it_imports_are_deps(stage, folder, group):
    body = STAGES[stage].get("do", STAGES[stage])
    assert f"{folder}/{group}.py" in body["deps"]
    deps = [dep for dep in body["deps"] if dep.startswith("stages/")]
    for module in (ROOT / folder).glob("*.py"):
        if module.name == "__init__.py":
            continue
        deeper = imported(module, set()) - {module.relative_to(ROOT).as_posix()} - WITHOUT_RESULT
        for other in deeper:
            covered = any(other == dep or other.startswith(f"{dep}/") for dep in deps)
            package = Path(other).name == "__init__.py"
            assert covered or package, f"{module.name} imports {other}"


def test_features_depend_on_all_of_acoustics():
    """So that one feature may be made from another, as mfcc is from logmel."""
    assert "stages/acoustics" in STAGES["features"]["do"]["deps"]
    for module in (ROOT / "stages" / "acoustics").glob("*.py"):
        for other in imported(module, set()) - WITHOUT_RESULT:
            assert other.startswith(("stages/acoustics/", "stages/clips/")), other


@pytest.mark.parametrize(
    ("stage", "folders"),
    [
        ("robustness", ("degradations", "acoustics")),
        ("exportable", ("acoustics",)),
        ("export", ("acoustics",)),
    ],
)
def test_deps_cover_all_that_settings_name(stage, folders):
    """Degradations, and the features that checkpoints name, with what they import."""
    deps = [dep for dep in STAGES[stage]["deps"] if dep.startswith("stages/")]
    for folder in folders:
        assert f"stages/{folder}" in deps
        for module in (ROOT / "stages" / folder).glob("*.py"):
            for other in imported(module, set()) - WITHOUT_RESULT:
                assert any(other == dep or other.startswith(f"{dep}/") for dep in deps), other


def test_merging_depends_on_all_variants():
    """They are named by `_target_`, which no import shows."""
    folders = ("stages/variants", "stages/degradations", "stages/clips")
    assert set(folders) <= set(STAGES["merge"]["deps"])
    for module in (ROOT / "stages" / "variants").glob("*.py"):
        for other in imported(module, set()) - WITHOUT_RESULT:
            assert other.startswith(folders), other


def test_the_report_depends_on_where_codes_and_label_sets_come_from():
    assert {"stages/corpora", "conf/labels"} <= set(STAGES["evaluate"]["deps"])
    for module in (ROOT / "stages" / "corpora").glob("*.py"):
        for other in imported(module, set()) - WITHOUT_RESULT:
            assert other.startswith(("stages/corpora/", "stages/clips/")), other


def test_raw_corpora_are_no_output():
    for name, stage in STAGES.items():
        for out in stage.get("do", stage).get("outs", []):
            assert not str(out).startswith(("data/raw", "remote://")), name


def test_entry_modules_stay_thin():
    for path in (ROOT / "stages").glob("*.py"):
        assert len(path.read_text().splitlines()) < 60, path.name
