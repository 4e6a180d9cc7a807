"""Copies of this repository with a small demo, in which a trial may kill, fill and rebuild.

python -m benchmarks.clones [--overrides SETTING ...]

Runs the demo in copies in different folders: on one core, on two, again without DVC's cache, and on
a Dask cluster; then compares all outputs, byte by byte. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import psutil
from dvc.utils.hydra import compose_and_dump
from omegaconf import OmegaConf

from benchmarks.processes import ROOT
from stages.parallel.workers import SCHEDULER
from stages.running.entry import run_command

#: The default demo with two of its corpora, a small network and short training.
SMALL = ("corpora=[emodb,savee]", "model=gru", "train.epochs=2", "split.protocol.folds=2")
OUTPUTS = ("data", "models", "reports")
_NAMED = {
    f"GIT_{who}_{key}": "trial" for who in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")
}


class Clone:
    """A copy of the repository's tracked files in a folder, which does not exist yet or is empty.

    Attributes
    ----------
    folder : Path
    environment : dict of str
        of its commands
    """

    def __init__(self, folder: Path, *overrides: str) -> None:
        self.folder = folder.resolve()
        self.environment = os.environ | _NAMED
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment |= {"PATH": path, "PYTHONPATH": str(self.folder)}
        names = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.split("\0")
        for name in filter(None, names):
            if name != "dvc.lock":
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.folder / name)
        self.choose(*overrides)
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
            subprocess.run(["git", *command], cwd=self.folder, env=self.environment, check=True)

    def choose(self, *overrides: str) -> None:
        """Compose params.yaml: the small demo with further settings."""
        conf, params = str(self.folder / "conf"), self.folder / "params.yaml"
        compose_and_dump(params, conf, None, "config", os.devnull, [*SMALL, *overrides])

    def start(self, *command: str, output: IO[str] | None = None) -> subprocess.Popen:
        """Start a command as the leader of a process group of its own."""
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=output or subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, *command: str) -> tuple[int, str]:
        """Run a command; return its exit code and what it printed."""
        log = self.folder / ".dvc" / "tmp" / "printed.txt"
        log.parent.mkdir(exist_ok=True)
        with log.open("w") as output:
            code = self.start(*command, output=output).wait()
        return code, log.read_text(errors="replace")

    def outputs(self, stage: str) -> list[Path]:
        """Paths that a stage has written."""
        return [self.folder / out["path"] for out in self._locked(stage)]

    def forget(self, stage: str) -> None:
        """Remove the outputs of a stage from DVC's cache, so that it has to run again."""
        shutil.rmtree(self.folder / ".dvc" / "cache" / "runs", ignore_errors=True)
        for out in self._locked(stage):
            path = self._cached(out["md5"])
            if path.suffix == ".dir" and path.is_file():
                for file in json.loads(path.read_text()):
                    self._cached(file["md5"]).unlink(missing_ok=True)
            path.unlink(missing_ok=True)

    def _locked(self, stage: str) -> list[dict[str, Any]]:
        lock: Any = OmegaConf.to_container(OmegaConf.load(self.folder / "dvc.lock"))
        return lock["stages"][stage]["outs"]

    def _cached(self, digest: str) -> Path:
        return self.folder / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]

    def processes(self) -> list[psutil.Process]:
        """List the running processes whose working folder is this one."""
        found = []
        for process in psutil.process_iter():
            try:
                alive = process.status() != psutil.STATUS_ZOMBIE
                if alive and process.cwd() == str(self.folder):
                    found.append(process)
            except psutil.Error:  # it has ended, or belongs to somebody else
                pass
        return found

    def digests(self) -> dict[str, str]:
        """Digest of each output by its path."""
        return {
            path.relative_to(self.folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for top in OUTPUTS
            for path in sorted((self.folder / top).rglob("*"))
            if path.is_file()
        }

    def leftovers(self) -> list[str]:
        """Unfinished outputs, locks and training jobs."""
        return [
            path.relative_to(self.folder).as_posix()
            for top in OUTPUTS
            for path in (self.folder / top).rglob("*")
            if path.name.startswith(".part-") or path.name == "unfinished"
        ]


def durations(lines: Sequence[tuple[float, str]], *, end: float) -> dict[str, float]:
    """Time that each stage took, from the moments at which DVC named it."""
    begun = [(moment, line.split("'")[1]) for moment, line in lines if line.startswith("Running")]
    ends = [*(moment for moment, _ in begun[1:]), end]
    return {stage: after - moment for (moment, stage), after in zip(begun, ends, strict=True)}


def timed(clone: Clone, *command: str) -> dict[str, float]:
    """Run `dvc repro` undisturbed; return the time that each stage took, in seconds.

    Raises
    ------
    SystemExit
        with what it printed, if it fails
    """
    lines = []
    with subprocess.Popen(
        command,
        cwd=clone.folder,
        env=clone.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout
        for line in process.stdout:
            lines.append((time.monotonic(), line))
    if process.returncode:
        sys.exit("".join(line for _, line in lines))
    return durations(lines, end=time.monotonic())


@contextmanager
def cluster(clone: Clone, *, workers: int) -> Iterator[str]:
    """Run a Dask cluster in the folder of a copy; yields its address."""
    from distributed import Client

    file = clone.folder / ".dvc" / "tmp" / "scheduler.json"
    file.parent.mkdir(exist_ok=True)
    known = ("--scheduler-file", str(file), "--no-dashboard")
    own = ("--host", "127.0.0.1", "--port", "0")
    begun = [
        clone.start("dask", "scheduler", *own, *known),
        clone.start("dask", "worker", *known, "--nworkers", str(workers), "--nthreads", "1"),
    ]
    try:
        with Client(scheduler_file=str(file), timeout=120) as client:
            client.wait_for_workers(workers, timeout=120)
            address = client.scheduler.address
        yield address
    finally:
        for process in begun:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def main() -> None:
    """Run the trial; print a line per run, and its counts as JSON in the last line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--overrides", nargs="+", default=[], metavar="SETTING", help="further settings"
    )
    chosen = parser.parse_args().overrides
    cores = sorted(os.sched_getaffinity(0))
    found: dict[str, dict[str, str]] = {}
    with TemporaryDirectory() as scratch:
        first = Clone(Path(scratch, "first"), *chosen)
        second = Clone(Path(scratch, "another place", "second"), *chosen)

        def measure(name: str, clone: Clone, *, number: int) -> None:
            os.sched_setaffinity(0, cores[:number])  # of the commands that it starts
            took_s = timed(clone, "dvc", "repro")
            os.sched_setaffinity(0, cores)
            found[name] = clone.digests()
            print(f"{name}: {len(found[name])} files, {sum(took_s.values()):.0f} s", flush=True)

        measure("one core", first, number=1)
        measure("two cores, another folder", second, number=2)
        for clone in (first, second):
            for made in (*OUTPUTS, ".dvc/cache", ".dvc/tmp", "dvc.lock"):
                path = clone.folder / made
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            subprocess.run(["git", "checkout", "-q", "."], cwd=clone.folder, check=True)
            clone.choose(*chosen)
        measure("two cores, caches deleted", first, number=2)
        with cluster(second, workers=2) as address:
            second.environment[SCHEDULER] = address
            measure("Dask, caches deleted", second, number=2)
    want = next(iter(found.values()))
    differing = {
        name: sorted(path for path in {*want, *got} if want.get(path) != got.get(path))
        for name, got in found.items()
    }
    for name, paths in differing.items():
        print(*(f"{name}: differs: {path}" for path in paths), sep="\n", end="")
    same = sum(not paths for paths in differing.values())
    print(json.dumps({"runs": len(found), "files": len(want), "identical": same}))
    sys.exit(same < len(found))


if __name__ == "__main__":
    run_command(main)
