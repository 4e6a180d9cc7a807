"""Which of the project's modules a module imports, at any depth, and a digest of their code."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
STAGES = ROOT / "stages"
_PACKAGES = ("stages", "app", "studies", "benchmarks")


def reached(modules: Iterable[str]) -> list[Path]:
    """Files of the given modules and of all that they import from this project.

    An import inside a function counts. A module that only a setting names does not, as no import
    shows it. Neither does an `__init__.py` that holds no code but a docstring.

    Parameters
    ----------
    modules : dotted names, such as "stages.learning.jobs"

    Returns
    -------
    list of Path
        sorted

    Raises
    ------
    ModuleNotFoundError
        naming the module that is not in this project
    """
    found: set[Path] = set()
    waiting = list(modules)
    for name in waiting:
        if not _files(name):
            raise ModuleNotFoundError(f"{name}: no module of this project")
    while waiting:
        for file in _files(waiting.pop()):
            if file not in found:
                found.add(file)
                waiting += imports(file)
    return sorted(filter(has_code, found))


def code_key(files: Iterable[Path]) -> str:
    """A digest of files of code, which differs where any of them differs."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _files(name: str) -> list[Path]:
    """The file of a module, or of a package, and those of the packages that hold it."""
    parts = name.split(".")
    if parts[0] not in _PACKAGES:
        return []
    path = ROOT.joinpath(*parts)
    own = [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]
    if not own:
        return []
    above = [ROOT.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts))]
    return own + above


def has_code(file: Path) -> bool:
    """Whether a file holds more than a docstring."""
    return not all(
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for node in _tree(file).body
    )


def imports(file: Path) -> list[str]:
    """Dotted names that a file imports; of `from a import b` both a and a.b."""
    names: list[str] = []
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))
