"""Where numba keeps compiled code on a machine on which little can be written to."""

from __future__ import annotations

import atexit
import os
import shutil
import sysconfig
import tempfile
from contextlib import suppress
from pathlib import Path


def _is_writable(folder: Path) -> bool:
    """Tell whether a folder can be written to, or made."""
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK)


def place_machine_code() -> None:
    """Give numba a temporary folder if it can store compiled code nowhere else.

    It refuses to compile unless it can write beside the source, which is this project's and
    librosa's, or to the user's cache.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "numba")
    sources = (Path(__file__).parents[1], Path(sysconfig.get_path("purelib")))
    if "NUMBA_CACHE_DIR" in os.environ or _is_writable(cache) or all(map(_is_writable, sources)):
        return
    with suppress(OSError):  # where nothing can be written at all, only some commands need it
        folder = tempfile.mkdtemp(prefix="inflect-")  # nobody else can write into it
        os.environ["NUMBA_CACHE_DIR"] = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
