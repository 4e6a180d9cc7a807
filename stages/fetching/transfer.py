"""One file over HTTP, going on where an earlier try was broken off; pooch checks what came."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pooch
import requests
import urllib3
from requests.structures import CaseInsensitiveDict
from tqdm import tqdm

from stages.fetching.plan import File
from stages.running.outputs import complete
from stages.running.resources import check_disk

log = logging.getLogger(__name__)

TRIES = 5  # without a byte more than before
TIMEOUT_S = (20, 60)  # to connect, and between two pieces
PIECE = 1 << 16  # bytes
TOO_BUSY = (408, 429)
_INTERRUPTED = (
    requests.ConnectionError,
    requests.Timeout,
    urllib3.exceptions.HTTPError,  # raised while the body is read
)


class Resuming:
    """A downloader for pooch that keeps what has come, and asks for the rest of it only.

    What has come waits in `<name>.part`, and what it is a part of in `<name>.part.json`: address,
    length, and the server's mark of this version of the file (ETag or Last-Modified). The server
    sends the rest only if its file still has that mark (If-Range), else the whole new file. Without
    a mark or a length, or from a server that sends no parts, the download starts over.

    Parameters
    ----------
    part : Path
        where to keep what has come
    size : int or None
        bytes that the file should have
    pause : callable
        waits for a number of seconds between two tries

    References
    ----------
    RFC 9110, HTTP Semantics, sections 13.1.5 (If-Range) and 14 (Range Requests)
    """

    def __init__(self, part: Path, *, size: int | None, pause: Callable[[float], None]) -> None:
        self.part = part
        self.note = part.with_name(f"{part.name}.json")
        self.size = size
        self.pause = pause

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Download `url` to `output_file`, as pooch asks of a downloader.

        Raises
        ------
        OSError
            if the server refuses, or if no more comes after several tries; what has come is kept
        ValueError
            if the server's file has another size than it should have, or if the disk has no room
            for it
        """
        furthest, failures = self._have(), 0
        while True:
            try:
                self._transfer(url)
                break
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                have = self._have()
                failures = 1 if have > furthest else failures + 1
                furthest = max(furthest, have)
                if not _may_pass(error):
                    raise OSError(f"{url}: {_reason(error)}") from error
                if failures == TRIES:
                    raise OSError(
                        f"{url}: {_reason(error)}, {TRIES} times; {have} bytes are kept, "
                        "the same command goes on from there"
                    ) from error
                wait_s = 2**failures
                log.info("%s: %s; next try in %d s", url, _reason(error), wait_s)
                self.pause(wait_s)
        os.replace(self.part, output_file)
        self.note.unlink()

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _known(self, url: str) -> dict:
        """What the part that is there is a part of; empty if it cannot be gone on with."""
        if not (self.part.exists() and self.note.exists()):
            return {}
        known = json.loads(self.note.read_text(encoding="utf-8"))
        return known if known.get("url") == url else {}

    def _start_over(self, known: dict) -> None:
        """Empty the part before its note is changed, so that the two never disagree."""
        self.note.unlink(missing_ok=True)
        self.part.write_bytes(b"")
        with complete(self.note) as note:
            note.write_text(json.dumps(known), encoding="utf-8")

    def _transfer(self, url: str) -> None:
        known = self._known(url)
        have = self._have() if known else 0
        if known and have == known["total"]:
            return
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": known["mark"]}
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
            if have and response.status_code in (206, 416) and not _fits(response, have, known):
                self._start_over({})
                raise requests.ConnectionError("the part that is here fits the file no longer")
            response.raise_for_status()
            if have and response.status_code == 206:
                total = known["total"]
            else:
                have, total = 0, self._length(response, url)
                mark = _mark(response.headers)
                known = {"url": url, "mark": mark, "total": total}
                self._start_over(known if mark and total else {})
            self._receive(response, have=have, total=total)

    def _length(self, response: requests.Response, url: str) -> int | None:
        length = response.headers.get("Content-Length")
        total = int(length) if length else None
        if None not in (total, self.size) and total != self.size:
            raise ValueError(f"{url}: got {total} bytes, want {self.size} as in the release")
        return total

    def _receive(self, response: requests.Response, *, have: int, total: int | None) -> None:
        size = total or self.size
        log.info("%s: downloading%s", self.part.stem, f" from byte {have} on" if have else "")
        if size:
            # How much it is when unpacked is not known yet; audio shrinks in an archive.
            check_disk(
                f"{response.url}: to download and unpack it",
                need=2 * size - have,
                folder=self.part.parent,
            )
        with (
            self.part.open("ab") as out,
            tqdm(
                desc=self.part.stem,
                total=size,
                initial=have,
                unit="B",
                unit_scale=True,
                disable=None,  # where there is no terminal
            ) as bar,
        ):
            # As sent: a .tar.gz that a server labels as a compressed .tar should stay one.
            for piece in response.raw.stream(PIECE, decode_content=False):
                out.write(piece)
                bar.update(len(piece))


def download(file: File, *, folder: Path, pause: Callable[[float], None] = time.sleep) -> Path:
    """Download a file, unless an earlier run has done so, and check it.

    Parameters
    ----------
    file : File
        what to download
    folder : Path
        where to
    pause : callable
        see Resuming

    Returns
    -------
    Path
        the file, complete

    Raises
    ------
    OSError
        see Resuming
    ValueError
        see Resuming; or if the checksum is wrong, with both: what came is removed
    """
    pooch.get_logger().setLevel(logging.WARNING)  # advises to note the checksums of what came
    folder.mkdir(parents=True, exist_ok=True)
    downloader = Resuming(folder / f"{file.name}.part", size=file.size, pause=pause)
    return Path(
        pooch.retrieve(file.url, file.checksum, fname=file.name, path=folder, downloader=downloader)
    )


def _mark(headers: CaseInsensitiveDict) -> str | None:
    """The server's mark of a file's version, of those that stand for each byte of it."""
    etag = headers.get("ETag", "W/")
    return headers.get("Last-Modified") if etag.startswith("W/") else etag


def _fits(response: requests.Response, have: int, known: dict) -> bool:
    """Whether an answer is the rest of the file of which the beginning is known."""
    place = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    return (
        place is not None
        and (int(place[1]), int(place[2])) == (have, known["total"])
        and _mark(response.headers) in (None, known["mark"])
    )


def _may_pass(error: Exception) -> bool:
    """Whether another try may succeed."""
    response = getattr(error, "response", None)
    if response is not None:
        return response.status_code >= 500 or response.status_code in TOO_BUSY
    return isinstance(error, _INTERRUPTED)


def _reason(error: BaseException) -> str:
    """The first cause of an error: what wraps it repeats the address, and says no more."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"{response.status_code} {response.reason}"
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__
