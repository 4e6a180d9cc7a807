"""The pipeline: each module here is the entry of one DVC stage, the folders hold the code.

May not import `app`, `studies` or `benchmarks`.
"""

import atexit
import os
import shutil
import sysconfig
import tempfile
from contextlib import suppress
from pathlib import Path

# One thread per process, and several processes. The numerical libraries read these variables when
# first imported, and every stage imports this package before them. Worker processes inherit them.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
# oneDNN caches a compiled convolution for every batch length: by default 1024 of them, 400 MB.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")


def _is_writable(folder: Path) -> bool:
    """Tell whether a folder can be written to, or made."""
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK)


def _place_machine_code() -> None:
    """Give numba a temporary folder if it can store compiled code nowhere else.

    It refuses to compile unless it can write beside the source, which is this project's and
    librosa's, or to the user's cache.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "numba")
    sources = (Path(__file__).parent, Path(sysconfig.get_path("purelib")))
    if "NUMBA_CACHE_DIR" in os.environ or _is_writable(cache) or all(map(_is_writable, sources)):
        return
    with suppress(OSError):  # where nothing can be written at all, only some commands need it
        folder = tempfile.mkdtemp(prefix="inflect-")  # nobody else can write into it
        os.environ["NUMBA_CACHE_DIR"] = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


_place_machine_code()
