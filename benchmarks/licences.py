"""Licences of all packages that are installed beside this one, as their authors state them.

python -m benchmarks.licences

A line for each package: licence, name and version. The last line is a JSON object: how many have a
licence that allows any use in return for naming its authors (`permissive`), and the others by name.
"""

from __future__ import annotations

import json
import re
from importlib.metadata import Distribution, distributions

from tabulate import tabulate

from stages.running.entry import run_command

#: Every one of these in a statement is permissive, as are "BSD License" and the like.
_PERMISSIVE = re.compile(
    r"\b(0BSD|BSD|MIT|MIT-0|MIT-CMU|HPND|Apache|ISC|PSF|Python Software Foundation|Zope|Zlib|CC0|"
    r"Unlicense)\b"
)


def licence(package: Distribution) -> str:
    """Return what a package says of its licence, on one line; "" if it says nothing."""
    # Not by [], which raises an error or not, depending on what else was imported.
    expressions, classifiers, own = (
        package.metadata.get_all(key) or []
        for key in ("License-Expression", "Classifier", "License")
    )
    kinds = [text.split(" :: ") for text in classifiers]
    names = [kind[-1] for kind in kinds if kind[0] == "License" and len(kind) > 2]
    return "".join(expressions) or "; ".join(names) or "".join(own).strip().partition("\n")[0]


def is_permissive(stated: str) -> bool:
    """Tell whether each part of a statement is permissive, or offers a permissive licence."""
    return all(_PERMISSIVE.search(part) for part in re.split(r"\bAND\b|;", stated))


def main() -> None:
    """Run the command."""
    rows = sorted((licence(package), package.name, package.version) for package in distributions())
    print(tabulate(rows, ["licence", "package", "version"], "plain", disable_numparse=True))
    others = {name: stated for stated, name, _ in rows if not is_permissive(stated)}
    print(json.dumps({"packages": len(rows), "permissive": len(rows) - len(others)} | others))


if __name__ == "__main__":
    run_command(main)
