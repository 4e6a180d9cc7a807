"""The pipeline: each module here is the entry of one DVC stage, the folders hold the code.

May not import `app`, `studies` or `benchmarks`.
"""

import os
import signal
import sys
import threading
import time
from functools import cache

from stages.running.machine_code import place_machine_code

# One thread per process, and several processes. The numerical libraries read these variables when
# first imported, and every stage imports this package before them. Worker processes inherit them.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
# oneDNN caches a compiled convolution for every batch length: by default 1024 of them, 400 MB.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
place_machine_code()

_POLL_S = 0.3
_SHELLS = {"sh", "dash", "bash", "zsh", "fish"}


@cache
def end_with_parent() -> None:
    """Have this process end as soon as the one that started it has ended, however that ended.

    Nobody would use its results: DVC does not record what a stage writes after DVC has ended, and a
    worker process only serves its main process. A shell in between is skipped.
    """
    parent = _parent()

    def watch() -> None:
        while parent and _parent() == parent:
            time.sleep(_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def _parent() -> int | None:
    """Process id of the nearest ancestor that is no shell; None for an orphan."""
    import psutil  # not installed with the app alone

    try:
        process = psutil.Process(os.getppid())
        while process.name() in _SHELLS:
            process = process.parent()
        # The one that adopts an orphan is of another process group.
        return process.pid if os.getpgid(process.pid) == os.getpgrp() else None
    except (psutil.Error, OSError, AttributeError):  # the last: a shell that nothing has started
        return None


if "DVC_STAGE" in os.environ:  # of a stage that DVC runs, and inherited by its worker processes
    end_with_parent()


def _stop(*_: object) -> None:
    os.write(2, b"interrupted\n")
    os._exit(130)


# Libraries take seconds to import, before stages.running.entry.run_command takes over. `-m` stands
# there while Python looks for the module to run; a shell may have chosen to ignore interruptions.
if sys.argv[0] == "-m" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _stop)
