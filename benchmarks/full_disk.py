"""Run each stage on a disk that is too small, free some space, and resume.

python -m benchmarks.full_disk [--stages NAME ...]

Needs Linux, whose `unshare` and `mount` make a file system in memory without rights of root. The
demo runs undisturbed there. Then each stage runs again with a fraction of the space that its
outputs take, without DVC's cache of them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.clones import Clone, timed
from stages.running.entry import run_command

DISK_MB = 700
#: Space that is left, as a fraction of a stage's outputs: the last holds them, but no copy of them.
FRACTIONS = (0.0, 0.4, 0.95, 1.3)
OWN_MB = 0.5  # left for DVC's own files
COLUMNS = ("tried", "ended well", "named", "none half", "unharmed", "resumed")
NAMED = re.compile(r"^(data|models|reports|features|/)\S*: .*\d [MG]B are free in /", re.M)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(p.stat().st_size for p in [path, *path.rglob("*")] if p.is_file())


def without_space(clone: Clone, stage: str, *, fraction: float) -> Counter:
    """Run a stage on a disk with little space, then with enough; count what went well."""
    want, outputs = clone.digests(), clone.outputs(stage)
    own = {
        path for path in want if any((clone.folder / path).is_relative_to(out) for out in outputs)
    }
    size = sum(map(size_of, outputs))
    ballast = clone.folder.parent / "ballast"
    clone.forget(stage)
    for out in outputs:
        if out.is_dir():
            shutil.rmtree(out)
        else:
            out.unlink()
    room = int(fraction * size + OWN_MB * 1e6)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(clone.folder).free - room)
    code, printed = clone.run("dvc", "repro", "-f", "-s", stage)
    got = clone.digests()
    ballast.unlink()
    half = [path for path in got if path in own and got[path] != want[path]] + clone.leftovers()
    harmed = [path for path in want if path not in own and got.get(path) != want[path]]
    again, resumed = clone.run("dvc", "repro", "--no-run-cache")
    fine = again == 0 and clone.digests() == want
    named = code != 0 and NAMED.search(printed) is not None
    said = [line for line in printed.splitlines() if "free" in line or "rror" in line]
    print(f"{stage}, {room / 1e6:.1f} MB for {size / 1e6:.1f} MB: exit code {code}", flush=True)
    print(*(f"    {line[:250]}" for line in said[-3:]), sep="\n", flush=True)
    if half or harmed or not fine:
        print("    LOST", half, harmed, resumed[-1500:], flush=True)
    return Counter(
        {
            "tried": 1,
            "ended well": code == 0,
            "named": named,
            "none half": not half,
            "unharmed": not harmed,
            "resumed": fine,
        }
    )


def main() -> None:
    """Run the trial; print a table, and its counts as JSON in the last line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stages", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument("--disk", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.disk is None:
        with TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "benchmarks.full_disk", *sys.argv[1:]]
            sys.exit(subprocess.call(["unshare", "-rm", *command, "--disk", folder]))
    options = ["-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs"]
    subprocess.run(["mount", *options, arguments.disk], check=True)
    clone = Clone(arguments.disk / "clone", "degradations=[telephone]", "variants=[noise]")
    stages = arguments.stages or list(timed(clone, "dvc", "repro"))
    if arguments.stages:
        timed(clone, "dvc", "repro")
    rows = {
        stage: sum(
            (without_space(clone, stage, fraction=fraction) for fraction in FRACTIONS), Counter()
        )
        for stage in stages
    }
    rows["all"] = sum(rows.values(), Counter())
    print(f"\n{'stage':16}" + "".join(f"{column:>12}" for column in COLUMNS))
    for name, counts in rows.items():
        print(f"{name:16}" + "".join(f"{counts[column]:12}" for column in COLUMNS))
    print(json.dumps({name: {c: counts[c] for c in COLUMNS} for name, counts in rows.items()}))


if __name__ == "__main__":
    run_command(main)
