"""Compiled loops over samples, for computations that torch lacks or does slowly."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache
def compiled(function: Callable, *, reorder: bool = True) -> Callable:
    """Compile a function of numpy arrays.

    The machine code is stored beside the bytecode, for later processes.

    Parameters
    ----------
    function : callable
        loops over numpy arrays, in the part of the language that numba knows
    reorder : bool
        whether terms of a sum may be reordered, so that one instruction adds several of them. The
        order is the same in every call.

    Returns
    -------
    callable
    """
    import numba  # takes a third of a second: only callers of a kernel wait for it

    fastmath = {"reassoc", "contract"} if reorder else False
    return numba.njit(cache=True, nogil=True, fastmath=fastmath)(function)


def is_plain(waveform: Tensor) -> bool:
    """Whether a kernel can replace torch: on a CPU, without gradients and outside a trace."""
    return (
        waveform.device.type == "cpu"
        and waveform.dtype in (torch.float32, torch.float64)
        and not (waveform.requires_grad and torch.is_grad_enabled())
        and not torch.jit.is_tracing()
    )


def check_plain(waveform: Tensor, *, name: str) -> None:
    """Raise a ValueError where a kernel would cut off a gradient or be frozen into a graph."""
    if torch.jit.is_tracing() or waveform.requires_grad:
        raise ValueError(
            f"{name}: got a waveform with gradients, or a graph that is traced for export, want "
            "plain samples: a compiled loop computes it, not torch"
        )
