"""JSON schema of params.yaml, by which editors complete, explain and check settings.

python -m studies.schema [FILE]

Keys and choices are those of conf/; types and descriptions are those of the code that a `_target_`
names. Values that no such code describes may be anything here; the stages check them too. Prints
the schema, or writes it to a file.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from stages.running.entry import run_command
from stages.running.outputs import complete
from stages.settings.checks import check
from stages.settings.loading import plain
from stages.settings.parameters import kinds_of, target_of
from studies.composition import compose_params

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_SEVERAL = ("corpora", "features", "variants", "degradations")
_MEMBERS = "model/members"
_ONE = ("audio", "calibration", "data", "labels", "model", "split", "train", "train/schedule")
_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string", NoneType: "null"}


def compositions() -> list[dict[str, Any]]:
    """Compose settings in which each option of each group of conf/ occurs, in seconds."""
    names = {
        group: sorted(path.stem for path in Path("conf", group).glob("*.yaml"))
        for group in (*_SEVERAL, *_ONE, _MEMBERS)
    }
    several = {group: f"{group}=[{','.join(names[group])}]" for group in (*_SEVERAL, _MEMBERS)}
    chosen = [[several[group] for group in _SEVERAL], ["model=ensemble", several[_MEMBERS]]]
    for i in range(max(len(names[group]) for group in _ONE)):
        chosen.append([f"{group}={names[group][i % len(names[group])]}" for group in _ONE])
    recipes = sorted(path.stem for path in Path("conf/experiment").glob("*.yaml"))
    chosen += [[f"+experiment={name}"] for name in recipes]  # one has a key of its own
    return [plain(compose_params(overrides)) for overrides in chosen]


def schema(settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Describe what composed settings have in common, and their alternatives."""
    joined: dict[str, Any] = reduce(_joined, map(_of_section, settings))
    return {"$schema": _DRAFT, **joined}


def _of_section(section: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a group of settings; the arguments of code are all required."""
    kinds, texts, properties = {}, "", {}
    if "_target_" in section:
        function = target_of("", section, str(section["_target_"]).split(".")[1])[1]
        kinds, texts = kinds_of(function), inspect.getdoc(function) or ""
    for name, value in section.items():
        if isinstance(value, dict) and ("_target_" in value or name not in kinds):
            properties[name] = _of_section(value)
        elif name in ("_target_", "name"):
            properties[name] = {"enum": [value]}
        else:
            found = _of_kind(kinds.get(name))
            if isinstance(value, list) and found.get("type") in ("number", "integer"):
                found = {"type": "array", "items": found}  # levels, each of which makes a call
            told = re.search(rf"^(?:\w+, )*{name}\b.*\n((?:    .*\n?)+)", texts, re.M)
            properties[name] = found | ({"description": " ".join(told[1].split())} if told else {})
    shape = {"type": "object", "additionalProperties": False, "properties": properties}
    return shape | ({"required": sorted(properties)} if kinds else {})


def _of_kind(kind: Any) -> dict[str, Any]:
    """Describe the values of a type."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return {"anyOf": list(map(_of_kind, inner))}
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (Sequence, list, tuple) or kind in (list, tuple):
        return {"type": "array", "items": reduce(_joined, map(_of_kind, inner))} if inner else {}
    if origin in (Mapping, dict):
        return {"type": "object", "additionalProperties": _of_kind(inner[1])}
    return {"type": _TYPES[kind]} if kind in _TYPES else {}


def _joined(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Accept what either accepts; sections of one `_target_` become one."""
    if _alike(one, other):
        both = one["properties"], other["properties"]
        common = {
            name: _joined(*(own[name] for own in both)) for name in both[0] if name in both[1]
        }
        return one | {"properties": both[0] | both[1] | common}
    if "enum" in one and "enum" in other:
        return one | {"enum": list(dict.fromkeys(one["enum"] + other["enum"]))}
    options = list(one.get("anyOf", [one]))
    for option in other.get("anyOf", [other]):
        same = [number for number, known in enumerate(options) if _alike(known, option)]
        if same:
            options[same[0]] = _joined(options[same[0]], option)
        elif option not in options:
            options.append(option)
    return {"anyOf": options} if len(options) > 1 else options[0]


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether both are groups, of the same code if of any."""
    sections = "properties" in one and "properties" in other
    return sections and one["properties"].get("_target_") == other["properties"].get("_target_")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="default: print it")
    file = parser.parse_args().file
    text = json.dumps(schema(compositions()), indent=2, ensure_ascii=False) + "\n"
    if file is None:
        print(text, end="")
        return
    ours = not file.exists() or _DRAFT in file.read_text(encoding="utf-8", errors="replace")
    check("FILE", str(file), ours, "a new file, or an earlier schema")
    with complete(file) as part:
        part.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
