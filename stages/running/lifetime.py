"""Processes that end with the one that started them."""

from __future__ import annotations

import os
import threading
import time
from functools import cache

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
