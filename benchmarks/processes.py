"""Time and memory of stages that run as processes, including the processes that they start."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

ROOT = Path(__file__).parents[1]


class Cost(NamedTuple):
    """Cost of a process.

    Attributes
    ----------
    seconds : float
        wall-clock time
    cpu_s : float
        CPU time of all cores, in seconds
    peak_mb : float
        largest memory at any time, in MB
    """

    seconds: float
    cpu_s: float
    peak_mb: float

    def __str__(self) -> str:
        return f"{self.seconds:8.1f} {self.cpu_s:8.1f} {self.peak_mb:8.0f}"


HEADING = f"{'':28} {'s':>8} {'cpu s':>8} {'peak MB':>8}"


def write_params(
    folder: Path, *overrides: str, corpora: Path, names: Sequence[str], model: str
) -> DictConfig:
    """Compose params.yaml into a folder, for real corpora in another folder."""
    chosen = [
        "data=real",
        f"data.root={corpora}",
        f"corpora=[{','.join(names)}]",
        f"model={model}",
        *overrides,
    ]
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        params = compose("config", chosen)
    OmegaConf.save(params, folder / "params.yaml", resolve=True)
    return params


def started(
    arguments: Sequence[str], *, folder: Path, stderr: int = subprocess.DEVNULL
) -> subprocess.Popen:
    """Start Python with arguments in a folder, where it finds this project."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )


def run(arguments: Sequence[str], *, folder: Path, stderr: int = subprocess.DEVNULL) -> Cost:
    """Run Python with arguments in a folder; see that it succeeds."""
    begun, peak = time.perf_counter(), 0.0
    process = started(arguments, folder=folder, stderr=stderr)
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        looked = time.process_time()
        peak = max(peak, memory_mb(process.pid))
        time.sleep(max(0.05, 9 * (time.process_time() - looked)))  # to cost little itself
    _, status, used = ended
    process.returncode = os.waitstatus_to_exitcode(status)  # os.wait4 has reaped it
    if process.returncode:
        raise ValueError(f"{' '.join(arguments)} failed with exit code {process.returncode}")
    return Cost(time.perf_counter() - begun, used.ru_utime + used.ru_stime, peak)


def memory_mb(pid: int) -> float:
    """Return the memory of a process and its children; shared memory counts once."""
    total = 0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            total += process.memory_full_info().pss
    except psutil.NoSuchProcess:
        pass  # a process has ended meanwhile
    return total / 1e6


def together(costs: Sequence[Cost]) -> Cost:
    """Add up the costs of processes that run one after the other."""
    seconds, cpu_s, peak_mb = zip(*costs, strict=True)
    return Cost(sum(seconds), sum(cpu_s), max(peak_mb))
