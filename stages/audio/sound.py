"""The samples of one recording while it is conditioned: any length, in the same memory.

Imports no table or network library: processes that only decode should start quickly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Literal

import numpy as np

_BLOCK = 1 << 18  # samples that are worked on at a time
_IN_MEMORY = 1 << 22  # bytes; a recording that takes more lies in a temporary file
# The library's own: noise is told from the 37 s around it, and from as much again on both sides.
_CHUNK, _MARGIN = 600_000, 30_000


class Sound:
    """Mono float32 samples of one recording, and how loud they are.

    Few are held in memory, many in a file without a name that is gone when the block ends:

        with Sound(sample_rate=16000, folder=folder) as sound:
            sound.fill(blocks)

    Parameters
    ----------
    sample_rate : int
        in Hz
    folder : Path or None
        where the file would lie; None: where this machine keeps temporary files
    """

    def __init__(self, *, sample_rate: int, folder: Path | None) -> None:
        self.samples = 0
        self._stretch = max(1, sample_rate // 50)  # 20 ms
        self._file = SpooledTemporaryFile(_IN_MEMORY, dir=folder)  # noqa: SIM115 (closed by __exit__)

    def __enter__(self) -> Sound:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def fill(self, blocks: Iterable[np.ndarray]) -> None:
        """Take all samples, float32 [samples] by blocks of any length, and measure them."""
        for block in blocks:
            self._file.write(np.ascontiguousarray(block, np.float32))
            self.samples += len(block)
        energies, peaks = [np.zeros(0)], [np.zeros(0, np.float32)]
        for block in self.blocks(0, self.samples):
            first = np.arange(0, len(block), self._stretch)
            energies.append(np.add.reduceat(np.square(block, dtype=np.float64), first))
            peaks.append(np.maximum.reduceat(np.abs(block), first))
        # Of each stretch: the sum of its squares, and its largest sample.
        self._energies, self._peaks = np.concatenate(energies), np.concatenate(peaks)

    def blocks(self, first: int, stop: int) -> Iterator[np.ndarray]:
        """The samples from `first` to before `stop`: float32 [samples] by whole stretches."""
        size = self._stretch * max(1, _BLOCK // self._stretch)
        for start in range(first, stop, size):
            self._file.seek(4 * start)
            yield np.frombuffer(self._file.read(4 * min(size, stop - start)), np.float32)

    def peak(self) -> float:
        """Size of the largest sample, 0 of none."""
        peak = float(self._peaks.max(initial=0.0))
        if not math.isfinite(peak):
            raise ValueError("not finite: its samples are too large to be resampled")
        return peak

    def trimmed(self, trim_db: float | None) -> tuple[int, int]:
        """First sample and the one after the last, without quiet ends.

        Parameters
        ----------
        trim_db : float or None
            both ends are cut up to where a stretch of 20 ms is at most this much quieter than the
            loudest one; None: nothing is cut
        """
        if trim_db is None:
            return 0, self.samples
        # librosa.effects.trim does the same, but takes seconds to load, and all samples at once.
        firsts = np.arange(0, self.samples, self._stretch)
        power = self._energies / np.minimum(self._stretch, self.samples - firsts)
        loud = firsts[power >= power.max() * 10.0 ** (-trim_db / 10)]
        return int(loud[0]), min(int(loud[-1]) + self._stretch, self.samples)

    def gain(
        self,
        first: int,
        stop: int,
        *,
        level: Literal["rms", "peak", "none"],
        level_db: float,
    ) -> float:
        """What to multiply the samples with that are left by `trimmed`.

        Parameters
        ----------
        first, stop : int
            what `trimmed` returned
        level : rms, peak or none
            which level to set; none keeps the recording's own
        level_db : float
            wanted, in dB relative to full scale; held back where a sample would exceed that
        """
        kept = slice(first // self._stretch, -(-stop // self._stretch))
        peak = float(self._peaks[kept].max())
        target = 10.0 ** (level_db / 20)
        if level == "rms":
            gain = target / math.sqrt(self._energies[kept].sum() / (stop - first))
        elif level == "peak":
            gain = target / peak
        else:
            gain = 1.0
        return min(gain, 1.0 / peak)


def denoised(
    blocks: Iterable[np.ndarray], *, sample_rate: int, denoise: float | None
) -> Iterator[np.ndarray]:
    """Remove a share of the noise by spectral gating.

    What is weak in its band, measured against the mean of the seconds around it, is taken for
    noise: steady sounds between the syllables, but soft and long vowels in part as well.

    Parameters
    ----------
    blocks : float32 [samples] each
    sample_rate : int
        in Hz
    denoise : float or None
        share of the noise to remove, 0 to 1; None: the blocks as they are

    Yields
    ------
    float32 [samples]
        all together as many as went in

    Raises
    ------
    ValueError
        if the sample rate is too low for the library, which says for what

    References
    ----------
    noisereduce.reduce_noise, not stationary, with all else as the library has it; equal to it over
    the whole recording
    """
    if not denoise:
        yield from blocks
        return
    held, begun = np.zeros(_MARGIN, np.float32), False
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) >= _CHUNK + 2 * _MARGIN:
            yield _gated(held[: _CHUNK + 2 * _MARGIN], sample_rate=sample_rate, share=denoise)
            held, begun = held[_CHUNK:], True
    while (left := len(held) - _MARGIN) > 0:
        # The library takes a recording of one chunk as it is, and fills the last of several up.
        size = left if not begun and left <= _CHUNK else _CHUNK
        around = np.zeros(size + 2 * _MARGIN, np.float32)
        around[: len(held)] = held
        yield _gated(around, sample_rate=sample_rate, share=denoise)[:left]
        held, begun = held[size:], True


def _gated(around: np.ndarray, *, sample_rate: int, share: float) -> np.ndarray:
    """The samples between the margins, with less noise."""
    from noisereduce import reduce_noise  # takes seconds, and most runs do without

    if around.any():  # the mean that digital silence would be measured against is 0
        with np.errstate(divide="ignore", invalid="ignore"):
            around = reduce_noise(
                y=around, sr=sample_rate, prop_decrease=share, chunk_size=None, padding=0
            )
    return around[_MARGIN:-_MARGIN]
