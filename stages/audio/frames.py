"""The common frame clock: where every feature's frames lie.

Frame t is centred on sample t * hop_length, so a clip has 1 + samples // hop_length frames whatever
the window's length, and any features can be joined frame by frame.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

_Samples = TypeVar("_Samples", int, np.ndarray)


def frame_count(samples: _Samples, *, hop_length: int) -> _Samples:
    """How many frames a clip of this many samples has.

    Parameters
    ----------
    samples : int, or integer array or series of any shape
    hop_length : int
        samples from one frame to the next

    Returns
    -------
    int or array like `samples`
        1 + samples // hop_length

    Raises
    ------
    ValueError
        if hop_length is below 1
    """
    if hop_length < 1:
        raise ValueError(f"hop_length: got {hop_length}, want at least 1")
    return 1 + samples // hop_length


def nearest_frames(
    centres_s: np.ndarray, *, samples: int, sample_rate: int, hop_length: int
) -> np.ndarray:
    """Resample a clock of its own to the common one: which of its frames each common frame takes.

    Parameters
    ----------
    centres_s : float [n]
        where the frames of the other clock are centred, rising, in seconds
    samples : int
        of the clip
    sample_rate : int
        in Hz
    hop_length : int
        in samples

    Returns
    -------
    int64 [frames]
        positions in `centres_s` of the nearest, of two as near the earlier; frames =
        1 + samples // hop_length
    """
    times_s = np.arange(frame_count(samples, hop_length=hop_length)) * hop_length / sample_rate
    return np.searchsorted((centres_s[1:] + centres_s[:-1]) / 2, times_s)


def first_frames(frames: np.ndarray) -> np.ndarray:
    """Row of each clip's first frame in a cache that holds all clips one after the other.

    Parameters
    ----------
    frames : integer array [clips]
        frames of each clip, in the cache's order; may be 0

    Returns
    -------
    int64 [clips]
    """
    return np.cumsum(frames, dtype=np.int64) - frames
