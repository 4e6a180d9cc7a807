"""Where tasks run changes no result: this process, others of the machine, or a Dask cluster."""

import gc
import os
import shutil
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from distributed import KilledWorker, LocalCluster

from stages.audio.store import AudioStore
from stages.clips import cache
from stages.clips.cache import write_cache
from stages.learning.jobs import run_jobs
from stages.learning.results import gather, gather_validation
from stages.parallel.workers import SCHEDULER, cluster, spread
from tests.calls import (
    HOP,
    RATE,
    RMS,
    broken_rms,
    dying_rms,
    faults_of_memory_that_comes_and_goes,
    memory_before_some_is_freed,
    signing_rms,
    surroundings,
)
from tests.support import ROOT
from tests.test_learning import experiment


@pytest.fixture(scope="module")
def local():
    """A cluster of two processes."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs="CRITICAL"
    ) as local:
        yield local


@pytest.fixture
def scheduler(local):
    return local.scheduler_address


@pytest.fixture
def on_cluster(scheduler, monkeypatch):
    monkeypatch.setenv(SCHEDULER, scheduler)


def never(*_, **__):
    raise AssertionError("called")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Forty clips of noise, 3 to 4 s, each of a length of its own, and one that is excluded."""
    folder = tmp_path_factory.mktemp("store")
    random = np.random.default_rng(0)
    sizes = [0 if i == 17 else 3 * RATE + 400 * i for i in range(40)]
    with AudioStore(folder / "audio.npy") as audio:
        for size in sizes:
            audio.append(random.integers(-3000, 3000, size).astype(np.int16))
    clips = pd.DataFrame({"clip": [f"x/{i:02}" for i in range(40)], "samples": sizes})
    clips["frames"] = np.where(clips["samples"] > 0, 1 + clips["samples"] // HOP, 0)
    return folder / "audio.npy", clips.assign(start=clips["samples"].cumsum() - clips["samples"])


def written(path, store, feature=RMS):
    audio, clips = store
    write_cache(path, feature=feature, clips=clips, audio=audio, sample_rate=RATE)
    return path.read_bytes()


@pytest.fixture
def small_tasks(monkeypatch):
    """Tasks of ten clips, and workers whatever the work; of this machine this process alone."""
    monkeypatch.setattr(cache, "_START_S", 0)
    monkeypatch.setattr(cache, "_TASK_S", 36)
    monkeypatch.setattr(cache, "processes", lambda tasks: 1)


def test_a_cache_holds_what_the_feature_gives_of_each_clip(tmp_path, store):
    written(tmp_path / "x.npy", store)
    audio, clips = store
    values, samples = np.load(tmp_path / "x.npy"), np.load(audio)
    assert values.dtype == np.float16 and len(values) == clips["frames"].sum()
    first = 0
    for clip in clips[clips["frames"] > 0].itertuples():
        waveform = samples[clip.start : clip.start + clip.samples].astype(np.float32) / 32767
        want = RMS(torch.from_numpy(waveform)).T.half().numpy()
        assert np.array_equal(values[first : first + clip.frames], want)
        first += clip.frames


@pytest.mark.parametrize("threads", [True, False])
def test_caches_are_the_same_bytes_in_other_processes_or_threads(
    tmp_path, store, small_tasks, monkeypatch, threads
):
    monkeypatch.setattr(cache, "_THREADS_S", 0 if threads else 60)
    want = written(tmp_path / "one.npy", store)
    monkeypatch.setattr(cache, "processes", lambda tasks: min(tasks, 2))
    (tmp_path / "who").mkdir()
    feature = partial(signing_rms, folder=tmp_path / "who")
    assert written(tmp_path / "two.npy", store, feature) == want
    signed = [path.name.split("-") for path in (tmp_path / "who").iterdir()]
    assert ({pid for pid, _ in signed} == {str(os.getpid())}) == threads and len(signed) > 1


def test_a_worker_keeps_memory_for_the_next_step(on_cluster):
    """Dask's nanny has it give memory back at once, so a training took twice as long."""
    with cluster() as client:
        (found,) = spread([faults_of_memory_that_comes_and_goes], processes=1, client=client)
    assert found < 25


def test_a_worker_gives_memory_back_after_its_task():
    """Or joblib would take it for a leak, warn of it, and start the worker again."""
    calls = [memory_before_some_is_freed] * 6
    held: dict[int, list[int]] = {}
    for process, size in spread(calls, processes=2, client=None):
        held.setdefault(process, []).append(size)
    assert max(map(len, held.values())) > 1  # one of them may be late for all
    assert max(max(sizes) - sizes[0] for sizes in held.values()) < 100e6


@pytest.mark.parametrize("where", ["here", "there"])
def test_a_clip_that_is_not_finite_is_named_and_loses_nothing(
    tmp_path, store, small_tasks, scheduler, monkeypatch, where
):
    if where == "there":
        monkeypatch.setenv(SCHEDULER, scheduler)
    before = written(tmp_path / "x.npy", store)
    bad = partial(broken_rms, samples=3 * RATE + 400 * 31)
    with pytest.raises(ValueError, match="^x/31: the feature is not finite in float16$"):
        written(tmp_path / "x.npy", store, bad)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]
    assert (tmp_path / "x.npy").read_bytes() == before


def test_training_gives_the_same_bytes_in_other_processes_and_on_a_cluster(
    tmp_path, scheduler, monkeypatch
):
    results = []
    for where, number in (("here", 1), ("beside", 2), ("cluster", 1)):
        (tmp_path / where).mkdir()
        monkeypatch.setattr("stages.learning.jobs.processes", lambda jobs, n=number: n)
        if where == "cluster":
            monkeypatch.setenv(SCHEDULER, scheduler)
        plan, jobs = experiment(tmp_path / where, "gru", epochs=2)
        run_jobs(jobs, plan)
        weights = [(plan.scratch / job.name / "model.pt").read_bytes() for job in jobs]
        results.append((weights, *gather(jobs, plan), gather_validation(jobs, plan)))
        assert {path.name for path in plan.scratch.iterdir()} == {job.name for job in jobs}
    for weights, *tables in results[1:]:
        assert weights == results[0][0]
        for table, here in zip(tables, results[0][1:], strict=True):
            pd.testing.assert_frame_equal(table, here, check_exact=True)


def test_what_a_job_on_a_cluster_raises_is_raised(tmp_path, on_cluster):
    plan, jobs = experiment(tmp_path, "gru")
    plan.settings["train"]["lr"] = 1e30
    with pytest.raises(ValueError, match=r"fold \w+, seed 0: epoch \d, batch .* the loss is nan"):
        run_jobs(jobs, plan)


def test_each_call_has_one_thread_and_this_folder(on_cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with cluster() as client:
        calls = [partial(surroundings, number) for number in range(12)]
        found = list(spread(calls, processes=1, client=client))
    assert sorted(number for *_, number in found) == list(range(12))
    for process, folder, of_torch, pools, _ in found:
        assert process != os.getpid() and folder == str(tmp_path)
        assert of_torch == 1 and pools == {1}


@pytest.mark.parametrize("where", ["here", "there"])
def test_an_error_is_that_of_the_call(where, scheduler, monkeypatch):
    if where == "there":
        monkeypatch.setenv(SCHEDULER, scheduler)
    with cluster() as client, pytest.raises(ValueError, match="invalid literal .* 'three'"):
        list(spread([partial(int, "three")], processes=2, client=client))


def test_a_result_that_has_arrived_is_not_kept_on_the_cluster(on_cluster):
    with cluster() as client:
        results = spread([partial(int, "3")], processes=1, client=client)
        assert next(results) == 3
        end = time.monotonic() + 2
        while client.futures and time.monotonic() < end:  # released in another thread
            time.sleep(0.01)
        assert not client.futures


# A worker outlives the run: what it imported then is not what it runs now ----------------------

SCRIPT = """
from functools import partial
from stages.parallel.workers import cluster, spread
from stages.question import answer
with cluster() as client:
    print(sorted(spread([partial(answer, i) for i in range(4)], processes=1, client=client)))
"""


def test_workers_run_the_code_of_the_folder_as_it_is_now(tmp_path, scheduler):
    for folder in ("a", "b"):
        shutil.copytree(
            ROOT / "stages", tmp_path / folder / "stages", ignore=shutil.ignore_patterns("*.pyc")
        )

    def ask(folder, answer):
        path = tmp_path / folder / "stages" / "question.py"
        path.write_text(f"def answer(i):\n    return open('n').read() + {answer!r} * i\n")
        (tmp_path / folder / "n").write_text(folder)
        result = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            cwd=tmp_path / folder,
            env=os.environ | {SCHEDULER: scheduler},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    for folder, answer in (("a", "x"), ("b", "y"), ("b", "zz"), ("a", "x")):
        want = [folder + i * answer for i in range(4)]
        assert ask(folder, answer) == f"{want}\n"


# Workers that die: after the other tests of a cluster, as new ones import all libraries again -----


def test_caches_are_the_same_bytes_on_a_cluster_even_if_a_worker_dies(
    tmp_path, store, small_tasks, on_cluster
):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(SCHEDULER)
        want = written(tmp_path / "here.npy", store)
    assert written(tmp_path / "there.npy", store) == want
    (tmp_path / "deaths").mkdir()
    dying = partial(dying_rms, folder=tmp_path / "deaths", samples=3 * RATE + 400 * 30)
    assert written(tmp_path / "dying.npy", store, dying) == want
    assert (tmp_path / "deaths" / "died").exists()


def test_a_call_that_workers_die_of_is_an_error(local, on_cluster, monkeypatch):
    monkeypatch.setattr(local.scheduler, "allowed_failures", 0)  # by default four have to die
    with cluster() as client, pytest.raises(KilledWorker):
        list(spread([partial(os._exit, 1)], processes=1, client=client))


# A cluster that is of no use is refused before any work -----------------------------------------


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "host", "nonsense://a:1"])
def test_a_scheduler_that_does_not_answer_is_named(tmp_path, store, monkeypatch, address):
    monkeypatch.setenv(SCHEDULER, address)
    monkeypatch.setattr("stages.parallel.workers._ANSWER_S", 0.5)
    monkeypatch.setattr(cache, "_compute", never)
    message = f"^INFLECT_SCHEDULER: got {address}, want a Dask scheduler that answers: "
    with pytest.raises(ValueError, match=message):
        written(tmp_path / "x.npy", store)
    assert not list(tmp_path.iterdir())
    gc.collect()  # a client that is deleted in the thread of the next one waits for itself


@pytest.mark.parametrize(
    ("workers", "threads", "reason"),
    [(0, 1, "has no worker, want one: dask"), (1, 3, "has 3 threads, want processes of one")],
)
def test_workers_of_no_use_are_named(monkeypatch, workers, threads, reason):
    monkeypatch.setattr("stages.parallel.workers._WORKER_S", 0.5)
    options = {"n_workers": workers, "threads_per_worker": threads, "processes": False}
    with LocalCluster(**options, dashboard_address=":0") as local:
        address = local.scheduler_address
        monkeypatch.setenv(SCHEDULER, address)
        with pytest.raises(ValueError, match=f"INFLECT_SCHEDULER: .*{reason}") as error, cluster():
            raise AssertionError
        assert f"dask worker {address} --nworkers auto --nthreads 1" in str(error.value)


def test_dask_is_imported_only_for_a_cluster():
    code = "import sys, stages.clips.cache; print('distributed' in sys.modules)"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


# Devices ---------------------------------------------------------------------------------------


def test_the_device_is_that_of_the_environment(tmp_path, store, monkeypatch):
    want = written(tmp_path / "x.npy", store)
    monkeypatch.setenv(cache.DEVICE, "cpu")
    assert written(tmp_path / "x.npy", store) == want


@pytest.mark.parametrize("device", ["gpu", "meta", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(tmp_path, store, monkeypatch, device):
    monkeypatch.setenv(cache.DEVICE, device)
    with pytest.raises(ValueError, match=f"^INFLECT_DEVICE: got {device}, want cpu or a device"):
        written(tmp_path / "x.npy", store, never)
    assert not list(tmp_path.iterdir())
