"""First use of a foreign model, in a copy of this process with limits of time and memory."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection

from stages.learning.model_facts import reason

#: CPU time, time on the clock, and memory beyond that of this process.
CPU_S, WALL_S, MEMORY_MB = 20, 300, 4000
#: How long a copy may do nothing before it counts as stuck, and how many are made then.
_IDLE_S, _COPIES = 10, 3
#: How long threads that have been joined may take to end.
_ENDING_S = 0.05


def try_out(work: Callable[[], object], *, name: object) -> None:
    """Call a function in a copy of this process, which may not take more than the limits.

    Only on Linux can a process be copied and limited so; elsewhere nothing is tried.

    Raises
    ------
    ValueError, ImportError
        as the function does; ValueError also for any other error, a limit, or a crash, with `name`
    """
    if sys.platform != "linux":
        return
    for _ in range(_COPIES):
        with suppress(_Stuck):
            return _try_once(work, name)
    raise _failed(name, "hung")


class _Stuck(Exception):
    """A copy does nothing: it waits for a lock that another thread held when it was made."""


def _try_once(work: Callable[[], object], name: object) -> None:
    _let_threads_end()
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_limited, args=(work, sender, name), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that threads are not copied
        process.start()
    sender.close()
    try:
        fault = receiver.recv() if _answers(receiver, process.pid) else _too_slow(name, WALL_S)
    except EOFError:
        process.join()
        slow = process.exitcode == -signal.SIGXCPU
        fault = _too_slow(name, CPU_S) if slow else _failed(name, "crashed")
    finally:
        process.kill()
        process.join()
        process.close()
        receiver.close()
    if fault is not None:
        raise fault


def _answers(receiver: Connection, process: int | None) -> bool:
    """Wait for an answer, but not for a copy that does nothing."""
    used_s, latest = -1.0, (begin := time.monotonic()) + WALL_S
    while not receiver.poll(min(WALL_S, _IDLE_S / 10)):
        now = time.monotonic()
        if now >= latest:
            return False
        with open(f"/proc/{process}/stat") as facts:
            ticks = facts.read().rpartition(")")[2].split()[11:13]
        before, used_s = used_s, sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
        begin = now if used_s > before else begin
        if now - begin > _IDLE_S:
            raise _Stuck
    return True


def _let_threads_end() -> None:
    """Wait for threads that Python has joined: a lock that one still holds stays held in a copy."""
    latest = time.monotonic() + _ENDING_S
    while len(os.listdir("/proc/self/task")) > threading.active_count():
        if time.monotonic() > latest:  # the rest are threads of libraries
            return
        time.sleep(0.001)


def _too_slow(name: object, limit_s: float) -> ValueError:
    return ValueError(f"{name}: got no answer to a second of sound in {limit_s:g} s; want one")


def _failed(name: object, fault: str) -> ValueError:
    want = f"a model that answers a second of sound in at most {MEMORY_MB} MB"
    return ValueError(f"{name}: {fault}, want {want}")


def _limited(work: Callable[[], object], sender: Connection, name: object) -> None:
    import resource  # is not on every system

    faulthandler.disable()
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)  # libraries in C++ say there that they crash
    with open("/proc/self/statm") as pages:
        held = int(pages.read().split()[0]) * resource.getpagesize()
    for limit, value in (
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_AS, held + MEMORY_MB * 1_000_000),
        (resource.RLIMIT_CORE, 0),
    ):
        _, most = resource.getrlimit(limit)
        least = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(limit, (least, most))
    fault: Exception | None = None
    try:
        work()
    except ImportError as error:
        fault = ImportError(str(error))
    except ValueError as error:
        fault = ValueError(str(error))
    except MemoryError:
        fault = _failed(name, "took more memory")
    except Exception as error:  # whatever a model of another kind raises
        fault = _failed(name, f"got {reason(error)}")
    sender.send(fault)
