"""Decode what libsndfile does not read, such as M4A, WebM and WMA, by the command ffmpeg."""

from __future__ import annotations

import os
import re
import select
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from stages.audio.isolation import DecodingError
from stages.audio.views import TOLERANCE_S

_WAIT_S = 30  # for the next samples
#: What ffmpeg may take a file for: none of them can name other files or addresses.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,asf,aac,amr,ac3,eac3,dts,ape,wv,tta,mpc,mpc8,ogg,flac,"
    "mp3,wav,w64,caf,aiff,au,avi,flv,mpeg,mpegts,rm,dss"
)
#: The file comes by its descriptor, since a name could be an option or an address.
_OPTIONS = (
    "-nostdin -hide_banner -loglevel error -threads 1 -protocol_whitelist file,pipe "
    f"-format_whitelist {_FORMATS} -i file:/dev/fd/0 -map 0:a:0 -map_metadata -1 "
    "-f au -c:a pcm_f32be pipe:1"
).split()
#: ffmpeg notes these where a file ends too early, and answers all the same.
_CUT_SHORT = re.compile(r"partial file|prematurely|truncated?", re.IGNORECASE)


@contextmanager
def by_ffmpeg(raw: int) -> Iterator[tuple[int, int, Callable[[int], np.ndarray]]]:
    """Decode the first sound track of a file at its own rate and channels.

    Parameters
    ----------
    raw : int
        descriptor of the file

    Yields
    ------
    int, int, callable
        sample rate in Hz, channels, and a function that returns up to as many samples per channel
        as it is told, float32 [samples, channels], none at the end

    Raises
    ------
    DecodingError
        if there is no ffmpeg, or if it cannot decode the file
    """
    command = shutil.which("ffmpeg")
    if command is None:
        raise DecodingError(
            "cannot be decoded here: its format needs ffmpeg; install ffmpeg, or convert the file "
            "to WAV or FLAC where it is installed, with `ffmpeg -i FILE FILE.wav`"
        )
    os.lseek(raw, 0, os.SEEK_SET)
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [command, *_OPTIONS],
            stdin=raw,
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            take = _taker(process.stdout.fileno())
            header = take(24)
            if len(header) < 24 or header[:4] != b".snd":
                raise DecodingError(f"cannot be decoded: ffmpeg says {_last_line(errors)}")
            offset, _, _, rate_hz, channels = struct.unpack(">5I", header[4:])
            take(offset - 24)
            declared, done = _declared(raw), 0

            def read(count: int) -> np.ndarray:
                nonlocal done
                content = take(4 * channels * count)
                done += len(content) // (4 * channels)
                if len(content) < 4 * channels * count:
                    _check_end(process, errors)
                    if done + TOLERANCE_S * rate_hz < declared:
                        raise ValueError(f"truncated: {done} samples, its header says {declared}")
                whole = len(content) // (4 * channels) * channels
                samples = np.frombuffer(content, ">f4", whole).astype(np.float32)
                return samples.reshape(-1, channels)

            yield rate_hz, channels, read
        finally:
            process.kill()


def _declared(raw: int) -> int:
    """Samples per channel by the header of TTA and WavPack, 0 for others.

    ffmpeg reads such a file without a word as far as it goes.
    """
    head = os.pread(raw, 18, 0)
    place = {b"TTA1": 14, b"wvpk": 12}.get(head[:4])
    if place is None or len(head) < 18:
        return 0
    (count,) = struct.unpack("<I", head[place : place + 4])
    return 0 if count == 0xFFFFFFFF else count


def _taker(descriptor: int) -> Callable[[int], bytes]:
    """Return a function that reads exactly as many bytes as it is told, or fewer at the end."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN | select.POLLHUP)

    def take(count: int) -> bytes:
        content = bytearray()
        while len(content) < count:
            if not poll.poll(1000 * _WAIT_S):
                raise ValueError(f"cannot be decoded: ffmpeg gave nothing for {_WAIT_S} s")
            if not (found := os.read(descriptor, min(count - len(content), 1 << 20))):
                break
            content += found
        return bytes(content)

    return take


def _check_end(process: subprocess.Popen, errors) -> None:
    code = process.wait(_WAIT_S)
    errors.seek(0)
    said = errors.read(1 << 16).decode(errors="replace")
    if _CUT_SHORT.search(said):
        raise ValueError(f"truncated: ffmpeg says {_last_line(errors)}")
    if code:
        raise ValueError(f"cannot be decoded: ffmpeg says {_last_line(errors)}")


def _last_line(errors) -> str:
    errors.seek(0)
    lines = errors.read(1 << 16).decode(errors="replace").split("\n")
    # In brackets stands an address in memory.
    said = [re.sub(r"\[[^\]]*\] *", "", line).strip() for line in lines]
    return next((line for line in reversed(said) if line), "nothing")
