"""Kill the pipeline at random moments of its stages, resume at once, and compare every output.

python -m benchmarks.kills [--runs 50] [--seed 0]

Runs the demo undisturbed, with two corpora and a small network. Then forces a random stage to run
again, kills it, resumes, and compares all outputs with those of the undisturbed run, byte by byte.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks.clones import Clone, timed
from stages.running.entry import run_command

ORPHANS_S = 2  # after a kill, by when all its processes have ended
COLUMNS = ("tried", "resumed", "identical", "lost", "orphans")
REPRO = ("dvc", "repro", "--no-run-cache")


def _stage_of(process: subprocess.Popen) -> int | None:
    """Process id of the stage that DVC runs; None if it runs none."""
    for child in psutil.Process(process.pid).children(recursive=True):
        if any(argument.startswith("stages.") for argument in child.cmdline()):
            return child.pid
    return None


def _kill_stage(process: subprocess.Popen) -> None:
    if stage := _stage_of(process):
        os.kill(stage, signal.SIGKILL)


#: What is killed, and how.
KILLS: dict[str, Callable[[subprocess.Popen], None]] = {
    "whole tree, SIGKILL": lambda process: os.killpg(process.pid, signal.SIGKILL),
    "dvc alone, SIGKILL": lambda process: os.kill(process.pid, signal.SIGKILL),
    "dvc alone, SIGTERM": lambda process: os.kill(process.pid, signal.SIGTERM),
    "stage alone, SIGKILL": _kill_stage,
    "whole tree, SIGTERM": lambda process: os.killpg(process.pid, signal.SIGTERM),
    "whole tree, SIGINT": lambda process: os.killpg(process.pid, signal.SIGINT),
}


def interrupted(clone: Clone, stage: str, *, kill: Callable, moment_s: float) -> list[int] | None:
    """Run one stage again and kill it a while after it has begun.

    Returns
    -------
    list of int
        its processes just before it was killed; None if it had ended by then
    """
    log = clone.folder / ".dvc" / "tmp" / "killed.txt"
    with log.open("w") as output:
        process = clone.start("dvc", "repro", "-f", "-s", stage, output=output)
    while "> python" not in log.read_text() and process.poll() is None:
        time.sleep(0.02)
    time.sleep(moment_s)
    before = [found.pid for found in clone.processes()]
    if process.poll() is not None:
        return None
    kill(process)
    process.wait()  # DVC takes a killed process that nobody has waited for to be alive
    return before


def resumed(clone: Clone, before: list[int]) -> tuple[int, str, list[str]]:
    """Resume at once; return exit code, output, and what still ran two seconds after the kill."""
    begun = time.monotonic()
    log = clone.folder / ".dvc" / "tmp" / "resumed.txt"
    with log.open("w") as output:
        process = clone.start(*REPRO, output=output)
    time.sleep(max(0, ORPHANS_S - (time.monotonic() - begun)))
    orphans = [" ".join(found.cmdline()) for found in clone.processes() if found.pid in before]
    return process.wait(), log.read_text(errors="replace"), orphans


def main() -> None:
    """Run the trial; print a table, and its counts as JSON in the last line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    counts = {name: Counter() for name in KILLS}
    with TemporaryDirectory() as folder:
        clone = Clone(Path(folder, "clone"), "degradations=[telephone]")
        took_s = timed(clone, "dvc", "repro")
        want = clone.digests()
        print(f"undisturbed: {sum(took_s.values()):.0f} s, {len(want)} files", flush=True)
        while sum(count["tried"] for count in counts.values()) < arguments.runs:
            name = min(KILLS, key=lambda kill: counts[kill]["tried"])
            stage = draw.choice(list(took_s))
            moment_s = draw.uniform(0, took_s[stage])
            clone.forget(stage)
            before = interrupted(clone, stage, kill=KILLS[name], moment_s=moment_s)
            if before is None:
                continue
            code, printed, orphans = resumed(clone, before)
            got = clone.digests()
            faults = [path for path in {*want, *got} if want.get(path) != got.get(path)]
            faults += clone.leftovers()
            fine = code == 0 and not faults
            counts[name] += Counter(
                tried=1,
                resumed=code == 0,
                identical=not faults,
                lost=not fine,
                orphans=bool(orphans),
            )
            print(f"{name}: {stage} after {moment_s:.1f} s: {'ok' if fine else 'LOST'}", flush=True)
            if not fine or orphans:
                print(*sorted(faults), *orphans, printed[-2000:], sep="\n", flush=True)
            if not fine:
                clone.run(*REPRO)
    rows = {name: [count[column] for column in COLUMNS] for name, count in counts.items()}
    rows["all"] = [sum(values) for values in zip(*rows.values(), strict=True)]
    print(f"\n{'killed':22}" + "".join(f"{column:>10}" for column in COLUMNS))
    for name, values in rows.items():
        print(f"{name:22}" + "".join(f"{value:10}" for value in values))
    print(json.dumps({name: dict(zip(COLUMNS, row, strict=True)) for name, row in rows.items()}))
    sys.exit(rows["all"][COLUMNS.index("lost")] > 0)


if __name__ == "__main__":
    run_command(main)
