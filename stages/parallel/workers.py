"""Run tasks in processes of this machine, or on a Dask cluster that the environment names.

`INFLECT_SCHEDULER=tcp://host:8786` is the address of a scheduler. It is not a parameter, because it
changes no result. All machines see the folder of the run under the same name.
"""

from __future__ import annotations

import os
import pickle
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from joblib import Parallel, delayed

from stages.running.code import ROOT, STAGES, code_key
from stages.running.lifetime import end_with_parent
from stages.running.resources import freed_memory_kept

if TYPE_CHECKING:
    from distributed import Client

SCHEDULER = "INFLECT_SCHEDULER"
_ANSWER_S, _WORKER_S = 5, 10  # how long to wait for a scheduler's answer, and for its first worker
_Result = TypeVar("_Result")


@contextmanager
def cluster() -> Iterator[Client | None]:
    """Connect to the cluster that the environment names.

    Yields
    ------
    Client, or None if the environment names no scheduler

    Raises
    ------
    ValueError
        if the scheduler does not answer, has no worker, or one that runs several tasks at a time
    """
    address = os.environ.get(SCHEDULER)
    if not address:
        yield None
        return
    from distributed import Client  # takes as long to import as numpy and pandas together

    try:
        client = Client(address, timeout=_ANSWER_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{SCHEDULER}: got {address}, want a Dask scheduler that answers: {error}"
        ) from error
    with client:
        _check_workers(client, address=address)
        yield client


def _check_workers(client: Client, *, address: str) -> None:
    how = f"dask worker {address} --nworkers auto --nthreads 1"
    try:
        client.wait_for_workers(1, timeout=_WORKER_S)
    except TimeoutError as error:
        raise ValueError(f"{SCHEDULER}: {address} has no worker, want one: {how}") from error
    for worker, threads in sorted(client.nthreads().items()):
        if threads > 1:
            raise ValueError(
                f"{SCHEDULER}: {worker} has {threads} threads, want processes of one thread: {how}"
            )


def spread(
    calls: Sequence[Callable[[], _Result]],
    *,
    processes: int,
    client: Client | None,
    threads: bool = False,
) -> Iterator[_Result]:
    """Call functions without arguments side by side.

    Processes of this machine end when this one has ended, even if it was killed.

    Parameters
    ----------
    calls : sequence of callables
        functions of this project, their arguments bound with functools.partial
    processes : int
        of this machine; 1 runs the calls in this process
    client : Client or None
        of a cluster that runs them instead, as `cluster` yields it
    threads : bool
        run them in threads of this process, which share its memory; for calls that rarely hold the
        interpreter's lock

    Yields
    ------
    the result of each call, in the order of completion

    Raises
    ------
    Exception
        of a call; KilledWorker of a cluster if one call killed its workers four times
    """
    if client is None:
        tasks = (delayed(partial(_beside, os.getpid(), call))() for call in calls)
        backend = "threading" if threads else "loky"
        yield from Parallel(processes, backend=backend, return_as="generator_unordered")(tasks)
    else:
        yield from _on_cluster(calls, client)


def _beside(main: int, call: Callable[[], _Result]) -> _Result:
    """Call a function in the main process or in a worker, which then ends with the main process."""
    if os.getpid() == main:
        return call()
    end_with_parent()
    with freed_memory_kept():
        return call()


def _on_cluster(calls: Sequence[Callable[[], _Result]], client: Client) -> Iterator[_Result]:
    """Use futures instead of joblib's backend, which waits forever once a worker has died."""
    from distributed import as_completed

    code = code_key(sorted(STAGES.rglob("*.py")))
    carry = _carrier(os.getcwd(), str(ROOT), code)
    waiting = iter(calls)
    done = as_completed(loop=client.loop, with_results=True)
    while True:
        # A few at a time, as the scheduler keeps submitted calls in memory.
        room = 2 * max(1, sum(client.nthreads().values())) - done.count()
        for call in islice(waiting, max(0, room)):
            packed = zlib.compress(pickle.dumps(call), 1)
            done.add(client.submit(carry, packed, pure=False))
        if done.is_empty():
            return
        future, result = next(done)
        del future  # else the cluster would repeat the call if the worker that made it dies
        yield pickle.loads(result)


def _carrier(folder: str, root: str, code: str) -> Callable[[bytes], bytes]:
    """Build the function that makes a call on a worker as this process would make it.

    The function is nested so that it travels whole: a worker may not find the package before it has
    run, and a worker that has lived for days may have imported an older version of it. It looks at
    each call, as runs of different code may share a worker: what Dask offers changes a worker once
    per upload, and reloads no submodule.
    """

    def carry(packed: bytes) -> bytes:
        import importlib
        import os
        import pickle
        import socket
        import sys
        import threading
        import zlib

        from threadpoolctl import threadpool_limits

        # One call at a time, in case a worker of several threads has joined: random numbers, the
        # working folder and imports belong to the whole process.
        with sys.__dict__.setdefault("_inflect_lock", threading.Lock()):
            try:
                os.chdir(folder)
                if getattr(sys.modules.get("stages"), "loaded", None) != (root, code):
                    for name in [n for n in sys.modules if n.partition(".")[0] == "stages"]:
                        del sys.modules[name]
                    sys.path[:] = [root, *(path for path in sys.path if path != root)]
                    importlib.invalidate_caches()
                    vars(importlib.import_module("stages"))["loaded"] = (root, code)
                resources = importlib.import_module("stages.running.resources")
                call = pickle.loads(zlib.decompress(packed))
                with threadpool_limits(1), resources.freed_memory_kept():
                    return pickle.dumps(call())
            except (ImportError, OSError) as error:
                error.add_note(
                    f"on the worker {socket.gethostname()}: want {folder} shared by all machines"
                )
                raise

    return carry
