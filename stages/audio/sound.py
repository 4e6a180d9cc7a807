"""Samples of one recording while it is conditioned, of any length in constant memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Literal

import numpy as np

from stages.audio.loudness import constant_offset

_BLOCK = 1 << 18  # samples that are worked on at a time
_IN_MEMORY = 1 << 22  # bytes; a recording that takes more lies in a temporary file
# noisereduce's own chunk and margin at 16 kHz: 37 s, and 1.9 s on either side.
_CHUNK, _MARGIN = 600_000, 30_000


class Sound:
    """Mono float32 samples of one recording, and their levels.

    A short recording stays in memory. A long one lies in an unnamed temporary file, which is gone
    when the block ends:

        with Sound(sample_rate=16000, folder=folder) as sound:
            sound.fill(blocks)

    Parameters
    ----------
    sample_rate : int
        in Hz
    folder : Path or None
        of the temporary file; None for the system's own
    """

    def __init__(self, *, sample_rate: int, folder: Path | None) -> None:
        self.samples, self._offset = 0, np.float32(0)
        self._stretch = max(1, sample_rate // 50)  # 20 ms
        place = None if folder is None else str(folder)
        self._file = SpooledTemporaryFile(_IN_MEMORY, dir=place)  # noqa: SIM115 (closed by __exit__)

    def __enter__(self) -> Sound:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def fill(self, blocks: Iterable[np.ndarray]) -> None:
        """Store all samples, float32 blocks of any length, and measure them without an offset."""
        for block in blocks:
            self._file.write(np.ascontiguousarray(block, np.float32).data)
            self.samples += len(block)
        totals = self._measure()
        if self.samples:
            counts = np.minimum(
                self._stretch, self.samples - np.arange(0, self.samples, self._stretch)
            )
            if offset := constant_offset(totals, self._energies, counts):
                self._offset = np.float32(offset)
                self._measure()

    def _measure(self) -> np.ndarray:
        """Find sum of squares and largest sample of each stretch; return the sum of each."""
        totals, energies, peaks = [np.zeros(0)], [np.zeros(0)], [np.zeros(0, np.float32)]
        for block in self.blocks(0, self.samples):
            first = np.arange(0, len(block), self._stretch)
            totals.append(np.add.reduceat(block, first, dtype=np.float64))
            energies.append(np.add.reduceat(np.square(block, dtype=np.float64), first))
            peaks.append(np.maximum.reduceat(np.abs(block), first))
        self._energies, self._peaks = np.concatenate(energies), np.concatenate(peaks)
        return np.concatenate(totals)

    def blocks(self, first: int, stop: int) -> Iterator[np.ndarray]:
        """Yield the samples from `first` to before `stop`, float32, in whole stretches."""
        size = self._stretch * max(1, _BLOCK // self._stretch)
        for start in range(first, stop, size):
            self._file.seek(4 * start)
            block = np.frombuffer(self._file.read(4 * min(size, stop - start)), np.float32)
            yield block - self._offset if self._offset else block

    def peak(self) -> float:
        """Largest absolute sample; 0 if there is none."""
        peak = float(self._peaks.max(initial=0.0))
        if not math.isfinite(peak):
            raise ValueError("not finite: its samples are too large to be resampled")
        return peak

    def trimmed(self, trim_db: float | None) -> tuple[int, int]:
        """Find the first sample, and the one after the last, without quiet ends.

        Parameters
        ----------
        trim_db : float or None
            both ends are cut up to the first stretch of 20 ms that is at most this much quieter
            than the loudest one; None cuts nothing
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
        """Gain that levels the samples that `trimmed` leaves.

        Parameters
        ----------
        first, stop : int
            as `trimmed` returns them
        level : rms, peak or none
            which level to set; none keeps the recording's own
        level_db : float
            wanted, in dB relative to full scale; the gain is limited so that no sample exceeds it
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
    """Remove a fraction of the noise by spectral gating.

    The gate takes for noise what is weak in its band against the mean of the seconds around it:
    steady sounds between the syllables, but also parts of soft, long vowels.

    Parameters
    ----------
    blocks : float32 [samples] each
    sample_rate : int
        in Hz
    denoise : float or None
        fraction of the noise to remove, 0 to 1; None passes the blocks on unchanged

    Yields
    ------
    float32 [samples]
        as many samples in all as went in

    Raises
    ------
    ValueError
        if the sample rate is too low for the library

    References
    ----------
    noisereduce.reduce_noise, non-stationary, with its other defaults; equal over the whole
    recording
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
        # The library leaves a recording of one chunk as it is, and pads the last of several.
        size = left if not begun and left <= _CHUNK else _CHUNK
        around = np.zeros(size + 2 * _MARGIN, np.float32)
        around[: len(held)] = held
        yield _gated(around, sample_rate=sample_rate, share=denoise)[:left]
        held, begun = held[size:], True


def _gated(around: np.ndarray, *, sample_rate: int, share: float) -> np.ndarray:
    """Gate a chunk with its margins, and return the samples between the margins."""
    from noisereduce import reduce_noise  # takes seconds, and most runs do without

    if around.any():  # digital silence would be divided by a mean of 0
        with np.errstate(divide="ignore", invalid="ignore"):
            around = reduce_noise(
                y=around, sr=sample_rate, prop_decrease=share, chunk_size=None, padding=0
            )
    return around[_MARGIN:-_MARGIN]
