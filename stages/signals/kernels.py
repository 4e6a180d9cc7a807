"""Loops over samples, compiled: what features do that are no torch operations."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache
def compiled(function: Callable) -> Callable:
    """A function of numpy arrays as machine code, kept beside the bytecode for later processes.

    Sums may be taken in another order than written, so that one instruction adds several numbers;
    the order is the same in every call.
    """
    import numba  # takes a third of a second: only who calls a kernel waits for it

    return numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})(function)


def is_plain(waveform: Tensor) -> bool:
    """Whether a kernel may stand in for torch: on a CPU, without gradients, outside of a trace."""
    return (
        waveform.device.type == "cpu"
        and waveform.dtype in (torch.float32, torch.float64)
        and not (waveform.requires_grad and torch.is_grad_enabled())
        and not torch.jit.is_tracing()
    )


def check_plain(waveform: Tensor, *, name: str) -> None:
    """Raise a ValueError where a kernel would cut a gradient off or be frozen into a graph."""
    if torch.jit.is_tracing() or waveform.requires_grad:
        raise ValueError(
            f"{name}: got a waveform with gradients, or a graph that is traced for export, want "
            "plain samples: it is computed by a compiled loop, not by torch"
        )
