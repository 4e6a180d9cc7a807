"""The pipeline: one module here per DVC stage, the parts they are made of in the folders."""

import os

# One thread per process, several processes: the numerical libraries read these when they are first
# imported, and every stage imports this package before any of them. Worker processes inherit them.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
# A convolution compiled for every length of batch is kept: by default 1024 of them, 400 MB.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
