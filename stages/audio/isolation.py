"""Decode files of rare formats in helper processes, which may be lost.

libsndfile loops for ever, crashes, or prints into standard output on some damaged files. A helper
lives on from file to file. It ends itself when one block takes too much processor time, so the
verdict on a file does not depend on what else the machine does.
"""

from __future__ import annotations

import atexit
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import reduction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

#: Limits of a helper: processor time for one block, and memory in bytes.
_CPU_S, _MEMORY = 10, 2 << 30
#: Helpers that wait for a file.
_IDLE: list[_Helper] = []


class DecodingError(ValueError):
    """No decoder at hand takes the file."""


class Stream(soundfile.SoundFile):
    """A file that is read to the end of its data, whatever length its header says.

    The library would also seek after each block, which costs time in compressed formats.
    """

    def __init__(self, file: Any) -> None:
        super().__init__(file, closefd=False)
        self._left = self.frames

    def seekable(self) -> bool:
        """Keep the library from trusting the length."""
        return False

    def block(self, count: int) -> np.ndarray:
        """Return up to `count` samples per channel, float32 [samples, channels]."""
        # What is asked for in vain is filled with zeros, which takes longer than reading a clip.
        count = min(count, max(1, self._left))
        samples = self.read(count, dtype="float32", always_2d=True)
        self._left -= len(samples)
        return samples


class _Helper:
    """A process that decodes one file at a time, block by block as asked."""

    def __init__(self) -> None:
        here, there = socket.socketpair()
        with there:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(there.fileno()), str(_CPU_S)],
                pass_fds=[there.fileno()],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self._pipe = Connection(here.detach())
        self._asked = self._open = False

    def open(self, descriptor: int) -> dict[str, Any]:
        """Open a file and return its samplerate, channels, frames, and the notes of libsndfile."""
        self._open = True
        try:
            reduction.send_handle(self._pipe, descriptor, self._process.pid)
        except OSError as error:
            raise self._lost() from error
        return json.loads(self._answer())

    def read(self, count: int) -> bytes:
        """Return up to `count` samples per channel as float32; none at the end."""
        self._ask(count)
        return self._answer()

    def release(self) -> None:
        """Wait for the next file, or end if the process is lost or still at work."""
        if self._open and not self._asked and not self.ended():
            try:
                self._ask(0)
            except DecodingError:
                pass
            else:
                self._asked = self._open = False
                _IDLE.append(self)
                return
        self.stop()

    def ended(self) -> bool:
        """Whether somebody has ended the process."""
        return self._process.poll() is not None

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._pipe.close()

    def _ask(self, count: int) -> None:
        try:
            self._pipe.send_bytes(str(count).encode())
        except OSError as error:
            raise self._lost() from error

    def _answer(self) -> bytes:
        self._asked = True
        try:
            answer = self._pipe.recv_bytes()
        except (EOFError, OSError) as error:
            raise self._lost() from error
        self._asked = False
        if answer[:1] == b"!":
            raise DecodingError(answer[1:].decode())
        return answer[1:]

    def _lost(self) -> DecodingError:
        code = self._process.wait()
        what = f"takes over {_CPU_S} s for one block" if code == -signal.SIGPROF else "crashes"
        return DecodingError(f"libsndfile {what}.")


@contextmanager
def helper() -> Iterator[_Helper]:
    """Lend a helper process for one file."""
    found = _ready()
    try:
        yield found
    finally:
        found.release()


def _ready() -> _Helper:
    try:
        while (found := _IDLE.pop()).ended():
            found.stop()
    except IndexError:  # none is left
        return _Helper()
    return found


@atexit.register
def _stop_all() -> None:
    while _IDLE:
        _IDLE.pop().stop()


# A forked process must not talk to the helpers of its parent.
os.register_at_fork(after_in_child=_IDLE.clear)


def _serve(descriptor: int, cpu_s: float) -> None:
    """Answer over a socket until its other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Control-C ends the process that asks
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    pipe = Connection(descriptor)
    while True:
        try:
            raw = reduction.recv_handle(pipe)
        except EOFError:
            return
        try:
            _decode(pipe, raw, cpu_s)
        except (soundfile.LibsndfileError, MemoryError) as error:
            reason = getattr(error, "error_string", f"It takes over {_MEMORY >> 30} GB of memory.")
            pipe.send_bytes(b"!" + reason.strip().encode())
            while int(pipe.recv_bytes()):
                pipe.send_bytes(b"=")
        finally:
            os.close(raw)


def _decode(pipe: Connection, raw: int, cpu_s: float) -> None:
    with _limited(cpu_s):
        file = Stream(raw)
    with file:
        names = ("samplerate", "channels", "frames")
        told = {name: getattr(file, name) for name in names} | {"notes": file.extra_info}
        pipe.send_bytes(b"=" + json.dumps(told).encode())
        while count := int(pipe.recv_bytes()):
            with _limited(cpu_s):
                samples = file.block(count)
            pipe.send_bytes(b"=" + samples.tobytes())


@contextmanager
def _limited(cpu_s: float) -> Iterator[None]:
    """Let the signal end the process if the block takes too much processor time."""
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), float(sys.argv[2]))
