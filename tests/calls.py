"""What tests have workers call: they import this module, which therefore imports little."""

import os
import resource
import signal
import threading
from functools import partial
from pathlib import Path

import psutil
import torch
from threadpoolctl import threadpool_info

from stages.acoustics.rms import rms

RATE, HOP = 16000, 256
RMS = partial(rms, sample_rate=RATE, hop_length=HOP, frame_length=512, floor_db=-100)


def dying_rms(waveform, *, folder, samples):
    """`rms`, but a clip of that length kills the first worker that meets it."""
    died = Path(folder, "died")
    if waveform.shape[-1] == samples and not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return RMS(waveform)


def broken_rms(waveform, *, samples):
    """`rms`, but NaN for a clip of that length."""
    return RMS(waveform) * (torch.nan if waveform.shape[-1] == samples else 1)


def signing_rms(waveform, *, folder):
    """`rms`, leaving an empty file named after the process and the thread."""
    Path(folder, f"{os.getpid()}-{threading.get_ident()}").touch()
    return RMS(waveform)


def surroundings(number):
    """The process, its folder, its threads, and the number that was given."""
    pools = {pool["num_threads"] for pool in threadpool_info()}
    return os.getpid(), os.getcwd(), torch.get_num_threads(), pools, number


def memory_before_some_is_freed():
    """Process, and the bytes that it holds before 400 MB of small tensors come and go."""
    held = psutil.Process().memory_info().rss
    sum(tensor[0] for tensor in [torch.ones(1 << 18) for _ in range(400)])
    return os.getpid(), held


def faults_of_memory_that_comes_and_goes():
    """How often the system is asked for memory while 50 tensors of 2 MB come and go once more."""
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(50):
            torch.ones(1 << 19)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
