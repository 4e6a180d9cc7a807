"""A Dask cluster on this machine against joblib: bytes, a killed worker, and the overhead.

python -m benchmarks.cluster --corpora DIR [--names ravdess] [--workers 1 2 4] [--epochs 5]

Runs the stages `features apen` and `train` of a small network with joblib in 1, 2 and 4 processes,
then over as many workers of one thread, and compares all that they write. The first run over a
cluster only warms its workers up, as they outlive a run. In the last, a worker is killed once it
has begun its second call, and calls that were begun again are counted. As root with `ip`, each
worker has a network of its own and sees nothing below /tmp but the folders of the run and of the
code; otherwise it is a plain process in another working folder. CPU time includes scheduler and
workers. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
from distributed import Client, WorkerPlugin

from benchmarks.processes import HEADING, ROOT, Cost, run, started, write_params
from stages.parallel.workers import SCHEDULER
from stages.running.entry import run_command

#: Command by the name of the part, and what it writes.
PARTS = {
    "features": (["-m", "stages.features", "apen"], ["data/features/apen.npy"]),
    "train": (
        ["-m", "stages.train"],
        ["models/folds", "data/predictions.csv", "data/validation.csv", "reports/training.csv"],
    ),
}
_BRIDGE = "inflect"  # prefix of all network devices
_PORT = 8786
_MIDDLE_S = 0.3  # a result that has not left its worker is lost with it, so not just at the start
# What a worker of its own network sees: the shared folders at their places, and no other of /tmp.
_VIEW = """
mount -t tmpfs own /mnt
for folder in {folders}; do mkdir -p /mnt$folder; mount --bind $folder /mnt$folder; done
mkdir -p /mnt/tmp; mount --rbind /mnt/tmp /tmp; cd /tmp; exec {command}
"""


class Cluster(NamedTuple):
    """Address of a scheduler, and its process and those of its workers, leaders of their groups."""

    address: str
    processes: list[psutil.Popen]

    def cpu_s(self) -> float:
        """CPU time of all processes so far."""
        total = 0.0
        for leader in self.processes:
            for process in (leader, *leader.children(recursive=True)):
                total += sum(process.cpu_times()[:2])
        return total


@contextmanager
def networks(number: int) -> Iterator[list[str]]:
    """Make network namespaces that reach this machine at 10.77.0.1; yield their names."""

    def ip(command: str) -> None:
        subprocess.run(["ip", *command.split()], check=True)

    names = [f"{_BRIDGE}{worker}" for worker in range(number)]
    with ExitStack() as stack:
        ip(f"link add {_BRIDGE} type bridge")
        stack.callback(ip, f"link del {_BRIDGE}")
        ip(f"addr add 10.77.0.1/24 dev {_BRIDGE}")
        ip(f"link set {_BRIDGE} up")
        for worker, name in enumerate(names):
            ip(f"netns add {name}")
            stack.callback(ip, f"netns del {name}")
            ip(f"link add {name} type veth peer name eth0 netns {name}")
            ip(f"link set {name} master {_BRIDGE} up")
            ip(f"-n {name} addr add 10.77.0.{worker + 2}/24 dev eth0")
            ip(f"-n {name} link set eth0 up")
            ip(f"-n {name} link set lo up")
        yield names


@contextmanager
def cluster(workers: int, *, shared: Path, isolated: bool) -> Iterator[Cluster]:
    """Start a scheduler and workers of one thread each, which end with the block.

    Parameters
    ----------
    workers : int
    shared : Path
        the folder of the run
    isolated : bool
        whether each worker has a network and a view of folders of its own
    """
    dask = [sys.executable, "-m", "dask"]
    host = "10.77.0.1" if isolated else "127.0.0.1"
    address = f"tcp://{host}:{_PORT}"
    folders = shlex.join(map(str, {ROOT, shared}))
    with ExitStack() as stack:
        own = stack.enter_context(tempfile.TemporaryDirectory())
        names = stack.enter_context(networks(workers)) if isolated else [""] * workers

        def start(command: Sequence[str]) -> psutil.Popen:
            process = psutil.Popen(
                command,
                cwd=own,  # where the project is not found
                start_new_session=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(_kill, process)
            return process

        scheduler = ["scheduler", "--host", host, "--port", str(_PORT), "--no-dashboard"]
        processes = [start([*dask, *scheduler])]
        for name in names:
            command = [*dask, "worker", address, "--nthreads", "1", "--no-dashboard"]
            if isolated:
                view = _VIEW.format(folders=folders, command=shlex.join(command))
                command = ["ip", "netns", "exec", name, "sh", "-ec", view]
            processes.append(start(command))
        with Client(address, timeout=300, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=300)
        yield Cluster(address, processes)


def _kill(process: psutil.Popen) -> None:
    if process.is_running():
        os.killpg(process.pid, signal.SIGKILL)


def digests(folder: Path, outputs: Sequence[str]) -> dict[str, str]:
    """Digest of each file of some outputs, by path."""
    found: dict[str, str] = {}
    for output in outputs:
        top = folder / output
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file():
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                found[str(path.relative_to(folder))] = digest
    return found


def recorder(folder: Path) -> WorkerPlugin:
    """Have each worker leave a file call@process for each call that it begins.

    The class is nested so that it travels whole, like the carrier of stages.parallel.workers.
    """

    class Recorder(WorkerPlugin):
        name = "begun"

        def transition(self, key: str, start: str, finish: str, **_: object) -> None:
            if finish == "executing":
                Path(folder, f"{key}@{os.getpid()}").touch()

    return Recorder()


def _in_the_middle(begun: Path) -> int | None:
    """Process of a worker that has begun its second call a while ago; None if there is none."""
    moments: dict[int, list[float]] = {}
    for path in begun.iterdir():
        moments.setdefault(int(path.name.split("@")[1]), []).append(path.stat().st_mtime)
    for worker, times in moments.items():
        if len(times) > 1 and time.time() - max(times) > _MIDDLE_S:
            return worker
    return None


def repeated(part: str, cluster: Cluster, *, folder: Path) -> tuple[int, int]:
    """Run a part and kill a worker in its second call; return calls, and how many were repeated.

    A worker that is alone is started again by its nanny; else the nanny is killed too.
    """
    begun = folder / "begun"
    begun.mkdir()
    with Client(cluster.address, set_as_default=False) as client:
        client.register_plugin(recorder(begun))
    process, killed = started(PARTS[part][0], folder=folder), False
    while process.poll() is None:
        if not killed and (worker := _in_the_middle(begun)):
            alone = len(cluster.processes) == 2  # a scheduler and one nanny
            if alone:
                os.kill(worker, signal.SIGKILL)
            else:
                os.killpg(os.getpgid(worker), signal.SIGKILL)
            killed = True
        time.sleep(0.05)
    if process.returncode or not killed:
        raise ValueError(f"{part}: exit code {process.returncode}, killed {killed}, want 0, True")
    calls = [path.name.split("@")[0] for path in begun.iterdir()]
    shutil.rmtree(begun)
    return len(set(calls)), len(calls) - len(set(calls))


def main() -> None:
    """Run the trial; print a table, and its figures as JSON in the last line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", required=True, help="folder of all corpora")
    parser.add_argument("--names", nargs="+", default=["ravdess"])
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()
    isolated = os.geteuid() == 0 and shutil.which("ip") is not None
    figures: dict[str, float | bool] = {"isolated": isolated}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch).resolve()
        chosen = ("features=[mfcc,apen]", f"train.epochs={arguments.epochs}", "train.patience=null")
        corpora = Path(arguments.corpora).resolve()
        write_params(folder, *chosen, corpora=corpora, names=arguments.names, model="gru")
        for command in (*(["prepare", n] for n in arguments.names), ["merge"], ["split"]):
            run(["-m", f"stages.{command[0]}", *command[1:]], folder=folder)
        run(["-m", "stages.features", "mfcc"], folder=folder)
        print(HEADING, flush=True)

        def cost(part: str, title: str, cluster: Cluster | None = None) -> Cost:
            before = cluster.cpu_s() if cluster else 0
            cost = run(PARTS[part][0], folder=folder)
            more_s = cluster.cpu_s() - before if cluster else 0
            cost = cost._replace(cpu_s=cost.cpu_s + more_s)
            print(f"{title:28} {cost}", flush=True)
            return cost

        want: dict[str, dict[str, str]] = {}
        for number in arguments.workers:
            os.environ["LOKY_MAX_CPU_COUNT"] = str(number)
            beside = {}
            for part, (_, outputs) in PARTS.items():
                beside[part] = cost(part, f"{part}, joblib {number}")
                got = digests(folder, outputs)
                figures[f"{part}_joblib_{number}_equal"] = got == want.setdefault(part, got)
            with cluster(number, shared=folder, isolated=isolated) as remote:
                os.environ[SCHEDULER] = remote.address
                for part in PARTS:
                    cost(part, f"{part}, first over {number}", remote)
                for part, (_, outputs) in PARTS.items():
                    far = cost(part, f"{part}, over {number}", remote)
                    key = f"{part}_{number}"
                    figures[f"{key}_equal"] = digests(folder, outputs) == want[part]
                    figures[f"{key}_cpu_times"] = round(far.cpu_s / beside[part].cpu_s, 3)
                    figures[f"{key}_s_times"] = round(far.seconds / beside[part].seconds, 3)
                # The features' worker is back or missed by then, so `train` loses the last one.
                part = "train" if number == 2 else "features"
                calls, again = repeated(part, remote, folder=folder)
                figures |= {f"{part}_{number}_calls": calls, f"{part}_{number}_repeated": again}
                got = digests(folder, PARTS[part][1])
                figures[f"{part}_{number}_killed_equal"] = got == want[part]
                print(f"{part}, a worker killed: {again} of {calls} calls again", flush=True)
                del os.environ[SCHEDULER]
    print(json.dumps(figures))


if __name__ == "__main__":
    run_command(main)
