"""The common frame clock of all features.

Frame t is centred on sample t * hop_length. So a clip has 1 + samples // hop_length frames whatever
the window length, and any features can be joined frame by frame.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

_Samples = TypeVar("_Samples", int, np.ndarray)


def frame_count(samples: _Samples, *, hop_length: int) -> _Samples:
    """Number of frames of a clip.

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
    """Nearest frame of another clock to each frame of the common one.

    Parameters
    ----------
    centres_s : float [n]
        rising centres of the frames of the other clock, in seconds
    samples : int
        of the clip
    sample_rate : int
        in Hz
    hop_length : int
        in samples

    Returns
    -------
    int64 [frames]
        positions in `centres_s`; of two equally near the earlier. frames =
        1 + samples // hop_length
    """
    times_s = np.arange(frame_count(samples, hop_length=hop_length)) * hop_length / sample_rate
    return np.searchsorted((centres_s[1:] + centres_s[:-1]) / 2, times_s)


def first_frames(frames: np.ndarray) -> np.ndarray:
    """Row of the first frame of each clip in a cache that holds all clips end to end.

    Parameters
    ----------
    frames : integer array [clips]
        frames of each clip, in the order of the cache; may be 0

    Returns
    -------
    int64 [clips]
    """
    return np.cumsum(frames, dtype=np.int64) - frames
