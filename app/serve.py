"""HTTP server: emotion of files, of raw samples, and of live speech.

python -m app.serve [--host 127.0.0.1] [--port 8000] [--model FILE] [--jobs N] [--waiting 100]
    [--timeout 30] [--streams 64]

POST /predict takes one or many files (`files`, multipart), or raw samples as the body (16 bits,
little-endian, mono, `Content-Type: audio/pcm`, at `?rate=`), and gives what `app.predict --format
json` gives. /stream is a WebSocket that takes raw samples and gives what `app.listen --format json`
gives. /health says which model answers, /docs describes all of it. No file is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import math
import queue
import threading
import time
import wave
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Query, Request, UploadFile, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse
from joblib import cpu_count
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import listen as live
from app.models import DEFAULT, Model, default_model, load_model
from app.predict import predict
from app.profiles import Profile
from app.recordings import MAX_MB, MAX_MILLIONS, MAX_S, Recording, Turns, stored
from stages.running.entry import printable, run_command

#: Files in a request, and its size in MB.
MAX_FILES, MAX_REQUEST_MB = 100, 100
RATES = (4000, 192000)  # of raw samples, in Hz
_POLL_S = 0.05
_SILENT_S = 60  # a stream that sends nothing for so long is closed
_BEHIND_S = 10  # of samples of a stream that may wait; then it is closed


class GivenUp(BaseException):
    """Stops work for a request that took too long, or whose client is gone."""


class Limits:
    """Middleware that refuses requests before their body is read, or as soon as it is too large."""

    def __init__(self, app: ASGIApp, *, most: int) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        said = headers.get(b"content-length", b"0")
        if said.isdigit() and int(said) > self._most:
            await _too_large()(scope, receive, send)
            return
        received, refused = 0, False

        async def counted() -> Message:
            nonlocal received, refused
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._most:
                refused = True
                return {"type": "http.disconnect"}
            return message

        async def answered(message: Message) -> None:
            if not refused:
                await send(message)

        try:
            await self._app(scope, counted, answered)
        except Exception:
            if not refused:
                raise
        if refused:
            await _too_large()(scope, receive, send)


def _too_large() -> JSONResponse:
    return _refused(413, f"too large: want a request of at most {MAX_REQUEST_MB} MB")


def _refused(status: int, reason: str, **headers: str) -> JSONResponse:
    return JSONResponse({"error": reason}, status_code=status, headers=headers)


def build(model: Model, *, jobs: int, waiting: int, timeout_s: float, streams: int) -> FastAPI:
    """Build the server.

    Parameters
    ----------
    model : Model
    jobs : int
        files, and streams, that are answered at a time
    waiting : int
        files that may wait for their turn; more are refused with status 503
    timeout_s : float
        after which work on a request is given up, with status 504
    streams : int
        live streams at a time
    """
    server = FastAPI(title="Inflect", description="Emotion of speech", version="1")
    server.add_middleware(Limits, most=round(MAX_REQUEST_MB * 1e6))
    pool = ThreadPoolExecutor(jobs)
    busy, open_streams = threading.Semaphore(jobs + waiting), threading.Semaphore(streams)
    turns = Turns(jobs)  # more threads at work would only wait for each other

    @server.get("/health")
    async def health() -> dict[str, Any]:
        """Say which model answers."""
        known = {name: model.facts.get(name) for name in ("model", "corpora", "speech", "ua")}
        limits = {"mb": MAX_MB, "seconds": MAX_S, "million_samples": MAX_MILLIONS}
        return {"status": "ok", "labels": model.labels, **known, "limits": limits}

    @server.post("/predict", response_model=None)
    async def answer(
        request: Request,
        files: list[UploadFile] | None = None,
        window: float | None = Query(None, gt=0, le=60, description="s; an answer per window"),
        hop: float | None = Query(None, gt=0, le=60, description="s between starts of windows"),
        rate: int = Query(16000, ge=RATES[0], le=RATES[1], description="Hz, of raw samples"),
    ) -> JSONResponse:
        """Recognise the emotion of files, or of raw samples."""
        if hop is not None and (window is None or hop > window):
            return _refused(422, f"hop: got {hop:g}, want a window, and a hop of at most it")
        if files:
            recordings = [
                Recording(file.filename or "", file.size or 0, file.file.read) for file in files
            ]
        elif request.headers.get("content-type", "").startswith("audio/pcm"):
            body = await request.body()
            if len(body) % 2:
                return _refused(422, f"raw samples: got {len(body)} bytes, want an even number")
            content = _as_wav(body, rate=rate)
            recordings = [Recording("", len(content), lambda: content)]
        else:
            return _refused(415, "got no files, want `files` (multipart) or audio/pcm")
        if len(recordings) > MAX_FILES:
            return _refused(413, f"too many: {len(recordings)} files, want at most {MAX_FILES}")
        taken = 0
        try:
            for _ in recordings:
                if not busy.acquire(blocking=False):
                    return _refused(503, "busy: try again", **{"Retry-After": "1"})
                taken += 1
            return await _answer_all(recordings, request, window=window, hop=hop)
        finally:
            for _ in range(taken):
                busy.release()

    async def _answer_all(
        recordings: list[Recording], request: Request, *, window: float | None, hop: float | None
    ) -> JSONResponse:
        end, gone = time.monotonic() + timeout_s, threading.Event()

        def tick() -> None:
            if gone.is_set() or time.monotonic() > end:
                raise GivenUp

        loop = asyncio.get_running_loop()
        work = [
            loop.run_in_executor(pool, _rows, recording, model, tick, window, hop)
            for recording in recordings
        ]
        done = asyncio.gather(*work)
        try:
            while not done.done():
                await asyncio.wait([done], timeout=_POLL_S)
                if await request.is_disconnected():
                    gone.set()
            rows = [row for found in done.result() for row in found]
        except GivenUp:
            return _refused(504, f"took longer than {timeout_s:g} s")
        finally:
            gone.set()
        if all("error" in row for row in rows):
            too_much = rows[0]["error"].startswith("too ")
            return JSONResponse(rows, status_code=413 if too_much else 422)
        return JSONResponse(rows)

    @server.websocket("/stream")
    async def stream(
        socket: WebSocket, rate: int = 16000, window: float = 3.0, step: float = 0.25
    ) -> None:
        """Answer raw samples while they come."""
        await socket.accept()
        if not RATES[0] <= rate <= RATES[1] or not 0.05 <= step <= window <= 60:
            reason = f"rate, window, step: got {rate}, {window:g}, {step:g}"
            await socket.close(1008, f"{reason}, want {RATES[0]} to {RATES[1]}, up to 60, .05 up")
            return
        if not open_streams.acquire(blocking=False):
            await socket.close(1013, f"busy: {streams} streams are open; try again")
            return
        try:
            await _converse(socket, model, turns=turns, rate=rate, window_s=window, step_s=step)
        finally:
            open_streams.release()

    return server


def _rows(
    recording: Recording,
    model: Model,
    tick: Callable[[], None],
    window: float | None,
    hop: float | None,
) -> list[dict]:
    """Answer one recording; its only row has an error if it cannot be used."""
    tick()
    hop_s = window if hop is None else hop
    try:
        with stored(recording, tick=tick) as path:
            rows = predict(model, path, window_s=window, hop_s=hop_s, tick=tick)
    except ValueError as error:
        rows = [{"error": str(error)}]
    return [row | {"file": printable(recording.name)} for row in rows]


def _as_wav(samples: bytes, *, rate: int) -> bytes:
    """Put a header before raw samples."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((1, 2, rate, len(samples) // 2, "NONE", ""))
        file.writeframes(samples)
    return content.getvalue()


class _Pipe:
    """Raw samples that one thread puts in and another reads, as from a file.

    Where the reader falls behind real time, it gets all that waits at once.
    """

    def __init__(self, *, rate_hz: int) -> None:
        self._pieces: queue.Queue[bytes] = queue.Queue()
        self._per_s, self._begun = 2 * rate_hz, math.inf
        self._held, self._done, self._put = b"", 0, 0

    def put(self, piece: bytes) -> bool:
        """Add bytes, b"" for the end; whether the reader keeps up."""
        self._begun = min(self._begun, time.monotonic())
        self._put += len(piece)
        self._pieces.put(piece)
        return self._put - self._done <= self._per_s * _BEHIND_S

    def read(self, size: int) -> bytes:
        """Return as many bytes, fewer only at the end, or a multiple if they are overdue."""
        while len(self._held) < size and (piece := self._pieces.get()):
            self._held += piece
        due = (time.monotonic() - self._begun) * self._per_s - self._done
        if due >= 2 * size:
            while not self._pieces.empty() and len(self._held) < due:
                if not (piece := self._pieces.get()):
                    self._pieces.put(piece)
                    break
                self._held += piece
            size *= max(1, int(min(due, len(self._held)) // size))
        found, self._held = self._held[:size], self._held[size:]
        self._done += len(found)
        return found


async def _converse(
    socket: WebSocket,
    model: Model,
    *,
    turns: Turns,
    rate: int,
    window_s: float,
    step_s: float,
) -> None:
    """Pass samples from a socket to a thread that listens in turn, and its answers back."""
    pipe = _Pipe(rate_hz=rate)
    loop, answers = asyncio.get_running_loop(), asyncio.Queue[str | None]()

    def blocks() -> Iterator[live.Block]:
        for block in live.from_pipe(pipe, rate_hz=rate, step_s=step_s):  # type: ignore[arg-type]
            with turns.turn(lambda place: None):  # until the next block is asked for
                yield block

    def work() -> None:
        profile = Profile.empty(model) if model.statistics else None
        try:
            for found in live.listen(
                model, blocks(), rate_hz=rate, window_s=window_s, profile=profile, memory_s=600.0
            ):
                text = live.format_answer(found, model, form="json")
                loop.call_soon_threadsafe(answers.put_nowait, text)
        finally:
            loop.call_soon_threadsafe(answers.put_nowait, None)

    async def send() -> None:
        more = True
        while more and (text := await answers.get()) is not None:
            while more and not answers.empty():  # a client that reads slowly gets the last answer
                later = answers.get_nowait()
                more, text = later is not None, text if later is None else later
            await socket.send_text(text)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    sender = asyncio.create_task(send())
    try:
        while True:
            message = await asyncio.wait_for(socket.receive(), _SILENT_S)
            if message["type"] == "websocket.disconnect":
                break
            piece = message.get("bytes")
            if piece is None:
                if message.get("text") == "end":
                    pipe.put(b"")
                    await sender
                    await socket.close()
                    break
                await socket.close(1003, "got text, want raw samples, 16 bits, or `end`")
                break
            if piece and not pipe.put(piece):
                await socket.close(1008, f"more than {_BEHIND_S} s ahead: want real time")
                break
    except TimeoutError:
        await socket.close(1001, f"nothing came for {_SILENT_S} s")
    except WebSocketDisconnect:
        pass
    finally:
        pipe.put(b"")
        sender.cancel()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 for all; default: %(default)s")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    parser.add_argument("--model", type=Path, metavar="FILE", help=DEFAULT)
    parser.add_argument("--jobs", type=int, default=cpu_count(), help="files answered at a time")
    parser.add_argument("--waiting", type=int, default=100, help="files that may wait")
    parser.add_argument("--timeout", type=float, default=30, metavar="S", help="of a request")
    parser.add_argument("--streams", type=int, default=64, help="live streams at a time")
    wanted = parser.parse_args()
    for name in ("jobs", "streams", "timeout"):
        value = getattr(wanted, name)
        if not 0 < value < math.inf:
            parser.error(f"--{name}: got {value:g}, want more than 0")
    if not 0 <= wanted.port < 1 << 16:
        parser.error(f"--port: got {wanted.port}, want 0 to 65535")
    if wanted.waiting < 0:
        parser.error(f"--waiting: got {wanted.waiting}, want at least 0")
    server = build(
        load_model(wanted.model or default_model()),
        jobs=wanted.jobs,
        waiting=wanted.waiting,
        timeout_s=wanted.timeout,
        streams=wanted.streams,
    )
    uvicorn.run(server, host=wanted.host, port=wanted.port, log_level="warning", ws_max_size=2**20)


if __name__ == "__main__":
    run_command(main)
