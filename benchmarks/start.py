"""CPU seconds that each stage takes to start, against Python and torch alone.

python -m benchmarks.start

A stage starts in an empty folder that holds its settings alone: `import` imports its modules, and
`start` runs the stage until it misses its input. The stages `demo`, which needs none, and `fetch`,
which is no stage, are imported only. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.processes import ROOT, started, write_params
from stages.running.entry import run_command

_REPEATS = 3
#: Arguments of the stages that want some.
_ARGUMENTS = {"prepare": ["emodb"], "features": ["rms"]}
_BASELINES = {"python": "pass", "numpy and pandas": "import pandas", "torch": "import torch"}


def cpu_s(arguments: Sequence[str], *, folder: Path) -> float:
    """Return the least CPU time of Python with these arguments, over some repeats."""
    taken = []
    for _ in range(1 + _REPEATS):  # the first may compile modules
        process = started(arguments, folder=folder)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        taken.append(used.ru_utime + used.ru_stime)
    return round(min(taken[1:]), 2)


def main() -> None:
    """Run the command."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    stages = sorted(file.stem for file in (ROOT / "stages").glob("[a-z]*.py"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_params(folder, "export=false", corpora=folder, names=["emodb"], model="svm")
        base = {name: cpu_s(["-c", code], folder=folder) for name, code in _BASELINES.items()}
        for name, seconds in base.items():
            print(f"{name:20} {seconds:8.2f}", flush=True)
        print(f"\n{'cpu s':20} {'import':>8} {'start':>8}")
        imports, starts = {}, {}
        for name in stages:
            imports[name] = cpu_s(["-c", f"import stages.{name}"], folder=folder)
            if name not in ("demo", "fetch"):
                command = ["-m", f"stages.{name}", *_ARGUMENTS.get(name, [])]
                starts[name] = cpu_s(command, folder=folder)
            print(
                f"{name:20} {imports[name]:8.2f} {starts.get(name, float('nan')):8.2f}", flush=True
            )
    times = {name: round(seconds / base["torch"], 2) for name, seconds in starts.items()}
    print(json.dumps(base | {"import_s": imports, "start_s": starts, "start_torch_times": times}))


if __name__ == "__main__":
    run_command(main)
