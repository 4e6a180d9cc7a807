"""Requirements: each is used or brought along by one that is, and has a licence that docs name."""

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions, requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.licences import is_permissive, licence
from stages.running.code import ROOT

PINNED = (ROOT / "requirements.txt").read_text()
WITHOUT_OTHERS = (ROOT / "requirements-no-deps.txt").read_text()
#: Requirements that are commands or plug-ins of commands -> what the Makefile says to them.
COMMANDS = {
    "ruff": "ruff check",
    "mypy": "\tmypy\n",
    "codespell": "codespell",
    "pytest-xdist": "--numprocesses",
    "ruamel.yaml.clib": "dvc repro",
}
#: Some packages are required on the oldest Python alone.
OLDEST = {"python_version": "3.11", "python_full_version": "3.11.0"}


def pinned(text: str) -> list[str]:
    return re.findall(r"^([\w.-]+)==", text, re.M)


@cache
def imported() -> set[str]:
    """Top names that the project's code imports."""
    folders = ("stages", "app", "studies", "benchmarks", "tests")
    code = [path.read_text() for top in folders for path in (ROOT / top).rglob("*.py")]
    return set(re.findall(r"^ *(?:from|import) (\w+)", "\n".join(code), re.M))


@cache
def modules() -> dict[str, set[str]]:
    """Top names that each package installs, by its canonical name."""
    found: dict[str, set[str]] = {}
    for module, packages in packages_distributions().items():
        for package in packages:
            found.setdefault(canonicalize_name(package), set()).add(module)
    return found


@cache
def brought() -> set[str]:
    """All packages that the requirements of the project's own code require, at any depth."""
    found: set[tuple[str, str]] = set()
    waiting = [(name, "") for name in pinned(PINNED.partition("# Brought along")[0])]
    while waiting:
        name, extra = key = waiting.pop()
        if key in found:
            continue
        found.add(key)
        try:
            needs = [Requirement(text) for text in requires(name) or []]
        except PackageNotFoundError:  # of another system, or a library of torch's
            continue
        for need in needs:
            if need.marker is None or need.marker.evaluate({"extra": extra, **OLDEST}):
                waiting += [(need.name, extra) for extra in ("", *need.extras)]
    return {canonicalize_name(name) for name, _ in found}


@pytest.mark.parametrize(
    "name", [*pinned(PINNED.partition("# Brought along")[0]), *pinned(WITHOUT_OTHERS)]
)
def test_each_requirement_is_used(name):
    if name in COMMANDS:
        assert COMMANDS[name] in (ROOT / "Makefile").read_text()
        return
    assert modules()[canonicalize_name(name)] & imported(), f"{name}: nothing imports it"


def test_every_other_requirement_is_brought_along():
    others = pinned(PINNED.partition("# Brought along")[2])
    assert [name for name in others if canonicalize_name(name) not in brought()] == []


def test_every_licence_that_is_not_permissive_is_named():
    page = (ROOT / "docs/security.md").read_text().partition("## Dependencies")[2]
    packages = [distribution(name) for name in pinned(PINNED + WITHOUT_OTHERS)]
    others = [package.name for package in packages if not is_permissive(licence(package))]
    assert others and [name for name in others if f"`{name.lower()}`" not in page] == []


@pytest.mark.parametrize(
    ("stated", "permissive"),
    [
        ("MIT", True),
        ("BSD License; Apache Software License", True),
        ("Apache-2.0 OR GPL-2.0-or-later", True),
        ("BSD-2-Clause AND Apache-2.0 WITH LLVM-exception", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", False),
        ("LGPL-2.1-or-later", False),
        ("", False),
    ],
)
def test_a_licence_is_permissive_if_each_part_is(stated, permissive):
    assert is_permissive(stated) == permissive
