"""Commands that work beside each other, compared with the same commands one after the other.

python -m benchmarks.concurrency [--rounds 2] [--predictions 40]

The demo runs in two copies of the repository, with two corpora and a small network. One copy has
every run to itself; in the other, at the same time,

queue     two workers of a DVC queue run four experiments, and `dvc repro` a fifth
tune      two `studies.tune` with a worker each share one study
predict   `app.predict` answers while the model is exported again, and while DVC puts the model of
          another experiment in its place

A run is right if its outputs have the same digests as in the other copy. A trial of a study is
right if the one with the same settings, tried alone, has the same value; an answer, if it is one
that the old or the new model gives. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import dvc.api
from omegaconf import OmegaConf
from tabulate import tabulate

from benchmarks.clones import SMALL, Clone
from stages.running.entry import run_command

COLUMNS = ("tried", "right", "wrong", "lost", "hung")
LIMIT_S = 3600  # for all runs of a round
_POLL_S = 0.5
_QUICK = ("features=[zcr,rms]",)
_RATES = ("0.001", "0.002", "0.003", "0.004")  # of the queued experiments
_MODEL = "models/export/inflect.onnx"
_SEARCHED = {"train.lr": {"choices": [0.001, 0.003, 0.01]}}
_TRIALS = 12
_ANSWER_S = 300


def experiment(rate: str, *, number: int) -> list[str]:
    """Arguments of `dvc exp run` for one learning rate."""
    choices = [*SMALL, *_QUICK, f"train.lr={rate}", f"train.weight_decay={number / 1000}"]
    return ["-n", f"lr{rate[2:]}-{number}", *(part for item in choices for part in ("-S", item))]


def outputs(clone: Clone, name: str) -> dict[str, str] | None:
    """Digest of each output of an experiment by its path; None if there is no such experiment."""
    try:
        text = dvc.api.read("dvc.lock", repo=str(clone.folder), rev=name)
        metrics = dvc.api.read("reports/metrics.json", repo=str(clone.folder), rev=name)
    except Exception as error:  # whatever is wrong, the experiment cannot be read
        print(f"{name}: {error!r}", file=sys.stderr)
        return None
    lock = OmegaConf.create(text)
    found = {out.path: out.md5 for stage in lock["stages"].values() for out in stage.outs}
    return found | {"metrics": metrics}


def damaged(clone: Clone) -> list[str]:
    """List the files in DVC's cache whose content is not that of their name."""
    files = [path for path in (clone.folder / ".dvc/cache/files/md5").rglob("*") if path.is_file()]
    return [
        str(path)
        for path in files
        if path.parent.name + path.name.removesuffix(".dir")
        != hashlib.md5(path.read_bytes()).hexdigest()
    ]


def ended(processes: Sequence[subprocess.Popen], *, limit_s: float) -> list[int | None]:
    """Exit codes of processes after a while; None for one that had to be killed."""
    until = time.monotonic() + limit_s
    codes: list[int | None] = []
    for process in processes:
        try:
            codes.append(process.wait(max(0, until - time.monotonic())))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            codes.append(None)
    return codes


def succeed(clone: Clone, *command: str) -> str:
    """Run a command, which must succeed; return what it printed."""
    code, printed = clone.run(*command)
    if code:
        sys.exit(f"{' '.join(command)}: exit code {code}\n{printed}")
    return printed


def queue(alone: Clone, busy: Clone, *, number: int) -> Counter:
    """Run a queue with two workers beside `dvc repro`."""
    runs = [experiment(rate, number=number) for rate in _RATES]
    here = f"train.lr=0.00{number + 5}"
    for run in runs:
        succeed(alone, "dvc", "exp", "run", *run)
        succeed(busy, "dvc", "exp", "run", "--queue", *run)
    for clone in (alone, busy):
        clone.choose(*_QUICK, here)
    succeed(alone, "dvc", "repro")
    succeed(busy, "dvc", "queue", "start", "--jobs", "2")
    repro = busy.start("dvc", "repro")
    until = time.monotonic() + LIMIT_S
    (code,) = ended([repro], limit_s=LIMIT_S)
    counts = Counter(tried=1, hung=code is None, lost=code not in (0, None))
    if code == 0:
        right = busy.digests() == alone.digests()
        counts += Counter(right=right, wrong=not right)
    while (left := _unfinished(busy)) and time.monotonic() < until:
        time.sleep(_POLL_S)
    succeed(busy, "dvc", "queue", "stop", "--kill")
    counts["hung"] += left
    for run in runs:
        want, got = (outputs(clone, run[1]) for clone in (alone, busy))
        counts += Counter(tried=1, right=got == want, wrong=got is not None and got != want)
        counts["lost"] += got is None
        if got is None:
            print(busy.run("dvc", "queue", "logs", run[1])[1][-3000:], file=sys.stderr)
    counts["lost"] -= left  # what is still running is not lost
    if harmed := damaged(busy):
        print(*harmed, sep="\n", file=sys.stderr)
        counts["wrong"] += len(harmed)
    return counts


def _unfinished(clone: Clone) -> int:
    """Count the experiments of the queue that have not ended."""
    status = succeed(clone, "dvc", "queue", "status")
    return len(re.findall(r"\b(Queued|Running)\b", status))


def tune(alone: Clone, busy: Clone, *, number: int) -> Counter:
    """Let two commands share one study."""
    name = f"shared{number}"
    for clone, times in ((alone, 1), (busy, 2)):
        clone.choose(*_QUICK)
        succeed(clone, "dvc", "repro")
        path = clone.folder / f"conf/tune/{name}.yaml"
        OmegaConf.save(
            {"base": [*SMALL, *_QUICK], "trials": _TRIALS, "parameters": _SEARCHED}, path
        )
        command = ("python", "-m", "studies.tune", str(path), "--workers", "1")
        codes = ended([clone.start(*command) for _ in range(times)], limit_s=LIMIT_S)
    known, found = trials(alone, name), trials(busy, name)
    want = {rate: value for rate, state, value in known if state == "complete"}
    fates = [
        "lost"
        if state not in ("complete", "pruned")
        else "right"
        if state == "pruned" or want.get(rate) == value
        else "wrong"
        for rate, state, value in found
    ]
    missing = max(0, _TRIALS - len(found)) + sum(code not in (0, None) for code in codes)
    counts = Counter(fates) + Counter(tried=max(_TRIALS, len(found)), lost=missing)
    return counts + Counter(hung=codes.count(None))


def trials(clone: Clone, name: str) -> list[tuple[str, str, str]]:
    """Learning rate, state and value of each trial of a study; none if it has no table."""
    path = clone.folder / f"reports/tune/{name}/trials.csv"
    if not path.is_file():
        return []
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return [(row["train.lr"], row["state"], row["validation_ua"]) for row in rows]


def answered(clone: Clone, file: str) -> str:
    """Ask `app.predict`; returns its standard output, or what went wrong."""
    command = [sys.executable, "-m", "app.predict", file, "--model", _MODEL, "--format", "json"]
    try:
        done = subprocess.run(
            command,
            cwd=clone.folder,
            env=clone.environment,
            capture_output=True,
            text=True,
            timeout=_ANSWER_S,
        )
    except subprocess.TimeoutExpired:
        return "hung"
    return done.stdout if done.returncode == 0 else f"lost: {done.stderr[-500:]}"


def predict(clone: Clone, *, answers: int) -> Counter:
    """Ask one after the other while the model is made again and replaced by another."""
    file = str(next((clone.folder / "data/demo/emodb").rglob("*.wav")))
    right, settings = set(), ([], [f"train.lr={_RATES[0]}"])
    for chosen in settings:
        clone.choose(*_QUICK, *chosen)
        succeed(clone, "dvc", "repro")
        right.add(answered(clone, file))
    if len(right) < len(settings) or any(answer.startswith(("hung", "lost")) for answer in right):
        sys.exit(f"got {right}, want two different answers")
    counts: Counter = Counter()
    done = threading.Event()

    def rebuild() -> None:
        for chosen in itertools.cycle(settings):
            if done.is_set():
                return
            clone.choose(*_QUICK, *chosen)
            succeed(clone, "dvc", "repro")  # takes the other model from DVC's cache
            succeed(clone, "dvc", "repro", "--force", "--single-item", "export")

    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(rebuild)
        for _ in range(answers):
            answer = answered(clone, file)
            fate = "right" if answer in right else answer[:4] if answer[:4] in COLUMNS else "wrong"
            counts += Counter({"tried": 1, fate: 1})
            if fate != "right":
                print(answer, file=sys.stderr)
        done.set()
        work.result()
    return counts


def main() -> None:
    """Run the trials; print a table, and its counts as JSON in the last line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2, help="of queues and studies; default: 2")
    parser.add_argument("--predictions", type=int, default=40, help="default: 40")
    arguments = parser.parse_args()
    counts = {"queue": Counter(), "tune": Counter()}
    with TemporaryDirectory() as folder:
        alone, busy = (Clone(Path(folder, name), *_QUICK) for name in ("alone", "busy"))
        for number in range(arguments.rounds):
            counts["queue"] += queue(alone, busy, number=number)
            print(f"queue: {dict(counts['queue'])}", flush=True)
            counts["tune"] += tune(alone, busy, number=number)
            print(f"tune: {dict(counts['tune'])}", flush=True)
        counts["predict"] = predict(busy, answers=arguments.predictions)
        for process in busy.processes():
            process.kill()
    rows = {name: [count[column] for column in COLUMNS] for name, count in counts.items()}
    print(tabulate([[name, *row] for name, row in rows.items()], ["", *COLUMNS], "plain"))
    print(json.dumps({name: dict(zip(COLUMNS, row, strict=True)) for name, row in rows.items()}))
    sys.exit(any(row[COLUMNS.index("right")] != row[0] for row in rows.values()))


if __name__ == "__main__":
    run_command(main)
