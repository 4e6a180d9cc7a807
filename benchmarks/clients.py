"""Clients that load a server: uploads one after the other, and live streams in real time.

Client and server share the processors, so a client costs next to nothing: it sends bytes that it
prepared before, and reads no more of an answer than it needs.
"""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10  # kinds of frames of a WebSocket
_PATIENCE_S = 30  # for the last answers


@dataclass
class Heard:
    """What the clients of one measurement got.

    Attributes
    ----------
    seconds : float
        from the first request to the last
    cpu_s : float
        CPU time of this process meanwhile
    latencies_s : list of list of float
        of each client, in the order of its answers
    faults : list of str
        why requests or streams failed
    """

    seconds: float = 0.0
    cpu_s: float = 0.0
    latencies_s: list[list[float]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def upload(port: int, files: Sequence[bytes], *, clients: int, seconds: float) -> Heard:
    """Post WAV files one after the other by several clients at a time.

    Parameters
    ----------
    port : int
        of a server on this machine
    files : sequence of bytes
        each client begins with another one
    clients : int
        each waits for its answer before it sends again
    seconds : float
        duration of the measurement

    Returns
    -------
    Heard
    """
    mark = "a1b2c3d4e5"
    head = f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'
    requests = []
    for content in files:
        body = head.encode() + content + f"\r\n--{mark}--\r\n".encode()
        start = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        kind = f"Content-Type: multipart/form-data; boundary={mark}\r\n\r\n"
        requests.append((start + kind).encode() + body)
    return asyncio.run(_together([_posts(port, requests, n, seconds) for n in range(clients)]))


def stream(port: int, samples: bytes, *, streams: int, seconds: float, step_s: float) -> Heard:
    """Speak over several WebSockets in real time.

    Parameters
    ----------
    port : int
        of a server on this machine
    samples : bytes
        int16 at 16 kHz; each stream begins at another place, and goes on from the start
    streams : int
        they begin evenly over one step
    seconds : float
        that each stream lasts
    step_s : float
        distance of the answers

    Returns
    -------
    Heard
        a latency is the time from sending the last samples of a step to the first answer that
        covers them
    """
    talks = [
        _talk(port, samples, number / streams, seconds=seconds, step_s=step_s)
        for number in range(streams)
    ]
    return asyncio.run(_together(talks))


async def _together(work: Sequence) -> Heard:
    heard, begun, used = Heard(), time.perf_counter(), time.process_time()
    for found in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(found, BaseException):
            heard.faults.append(f"{type(found).__name__}: {found}")
        else:
            heard.latencies_s.append(found)
    heard.seconds = time.perf_counter() - begun
    heard.cpu_s = time.process_time() - used
    return heard


async def _posts(port: int, requests: Sequence[bytes], number: int, seconds: float) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    latencies, end = [], time.perf_counter() + seconds
    while (begun := time.perf_counter()) < end:
        writer.write(requests[number % len(requests)])
        head = await reader.readuntil(b"\r\n\r\n")
        size = next(ln for ln in head.lower().split(b"\r\n") if ln.startswith(b"content-length:"))
        body = await reader.readexactly(int(size.split(b":")[1]))
        if b" 200 " not in head[:20] or b"error" in body:
            raise ValueError(f"got {head[:20]!r} {body[:200]!r}, want an answer")
        latencies.append(time.perf_counter() - begun)
        number += 1
    writer.close()
    return latencies


async def _talk(
    port: int, samples: bytes, place: float, *, seconds: float, step_s: float
) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    path = f"/stream?rate=16000&window=3&step={step_s:g}"
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{upgrade}{key}".encode())
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(place * step_s)
    size, steps = round(2 * 16000 * step_s), round(seconds / step_s)
    sent = [0.0] * steps
    first = round(place * len(samples) / size) * size

    async def speak() -> None:
        begun = time.perf_counter()
        for number in range(steps):
            start = (first + number * size) % (len(samples) - size)
            await asyncio.sleep(max(0.0, begun + number * step_s - time.perf_counter()))
            sent[number] = time.perf_counter()
            writer.write(_frame(_BINARY, samples[start : start + size]))
        writer.write(_frame(_TEXT, b"end"))

    speaker = asyncio.create_task(speak())
    latencies: list[float] = []
    try:
        async with asyncio.timeout(seconds + _PATIENCE_S):
            while True:
                kind, content = await _received(reader)
                if kind == _CLOSE:
                    break
                if kind == _PING:
                    writer.write(_frame(_PONG, content))
                if kind != _TEXT:
                    continue
                # A server that is behind may answer for several steps at once.
                answered = round(json.loads(content)["end_s"] / step_s)
                now = time.perf_counter()
                latencies += [now - moment for moment in sent[len(latencies) : answered]]
    finally:
        speaker.cancel()
        writer.close()
    if len(latencies) < steps:
        raise ValueError(f"got answers for {len(latencies)} steps of {steps}: {content[2:]!r}")
    return latencies


def _frame(kind: int, content: bytes) -> bytes:
    """Make a frame of a client, whose mask of zeros leaves the content as it is."""
    size = len(content)
    length = bytes([128 | size]) if size < 126 else struct.pack(">BH", 128 | 126, size)
    return bytes([128 | kind]) + length + bytes(4) + content


async def _received(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    kind, size = await reader.readexactly(2)
    if size == 126:
        size = int.from_bytes(await reader.readexactly(2))
    return kind & 15, await reader.readexactly(size)
