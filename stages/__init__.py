"""The pipeline: each module here is the entry of one DVC stage, the folders hold the code.

May not import `app`, `studies` or `benchmarks`.
"""

import os
import signal
import sys

from stages.running.machine_code import place_machine_code

# One thread per process, and several processes. The numerical libraries read these variables when
# first imported, and every stage imports this package before them. Worker processes inherit them.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
# oneDNN caches a compiled convolution for every batch length: by default 1024 of them, 400 MB.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
# onnxruntime reports each use to its makers otherwise.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
place_machine_code()

if "DVC_STAGE" in os.environ:  # of a stage that DVC runs, and inherited by its worker processes
    from stages.running.lifetime import end_with_parent

    end_with_parent()


def _stop(*_: object) -> None:
    os.write(2, b"interrupted\n")
    os._exit(130)


# Libraries take seconds to import, before stages.running.entry.run_command takes over. `-m` stands
# there while Python looks for the module to run; a shell may have chosen to ignore interruptions.
if sys.argv[0] == "-m" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _stop)
