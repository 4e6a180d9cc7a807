"""HTTP download of one file, which resumes after an interruption; pooch checks the result."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pooch
import requests
import urllib3
from requests.structures import CaseInsensitiveDict
from tqdm import tqdm

from stages.fetching.plan import Address, File
from stages.running.outputs import complete
from stages.running.resources import check_disk

log = logging.getLogger(__name__)

TRIES = 5  # in a row without a new byte
TIMEOUT_S = (20, 60)  # to connect, and between two chunks
CHUNK = 1 << 16  # bytes
_SMALL = 1 << 20  # bytes; such files come by the thousand, and each has no message of its own
TOO_BUSY = (408, 429)
_INTERRUPTED = (
    requests.ConnectionError,
    requests.Timeout,
    urllib3.exceptions.HTTPError,  # raised while reading the body
)


class Resuming:
    """A downloader for pooch that keeps a partial file and requests only the rest.

    `<name>.part` holds the bytes received so far. `<name>.part.json` holds the address, the length
    and the validator (ETag or Last-Modified) of the file they belong to. The server sends the rest
    only if its file still has this validator (If-Range), and the whole new file otherwise. Without
    a validator or a length, or if the server does not support ranges, the download starts over.

    Parameters
    ----------
    part : Path
        path of the partial file
    size : int or None
        expected size of the file, in bytes
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
        """Download `url` to `output_file`; pooch calls this.

        Raises
        ------
        OSError
            if the server refuses, or if several tries in a row bring no byte; the partial file is
            kept
        ValueError
            if the file on the server does not have the expected size, or if the disk has no room
        """
        furthest, failures = self._received(), 0
        while True:
            try:
                self._transfer(url)
                break
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                received = self._received()
                failures = 1 if received > furthest else failures + 1
                furthest = max(furthest, received)
                if not _is_transient(error):
                    raise OSError(f"{url}: {_reason(error)}") from error
                if failures == TRIES:
                    raise OSError(
                        f"{url}: {_reason(error)}, {TRIES} times; {received} bytes are kept, run "
                        "the same command to resume"
                    ) from error
                wait_s = 2**failures
                log.info("%s: %s; next try in %d s", url, _reason(error), wait_s)
                self.pause(wait_s)
        os.replace(self.part, output_file)
        self.note.unlink()

    def _received(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _known(self, url: str) -> dict:
        """Read the note about the partial file; empty if the download cannot resume."""
        if not (self.part.exists() and self.note.exists()):
            return {}
        known = json.loads(self.note.read_text(encoding="utf-8"))
        return known if known.get("url") == url else {}

    def _start_over(self, known: dict) -> None:
        """Empty the partial file before writing its note, so that they never disagree."""
        self.note.unlink(missing_ok=True)
        self.part.write_bytes(b"")
        with complete(self.note) as note:
            note.write_text(json.dumps(known), encoding="utf-8")

    def _transfer(self, url: str) -> None:
        known = self._known(url)
        offset = self._received() if known else 0
        if known and offset == known["total"]:
            return
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers |= {"Range": f"bytes={offset}-", "If-Range": known["mark"]}
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
            partial = response.status_code in (206, 416)
            if offset and partial and not _continues(response, offset, known):
                self._start_over({})
                raise requests.ConnectionError("the file on the server has changed")
            response.raise_for_status()
            if offset and response.status_code == 206:
                total = known["total"]
            else:
                offset, total = 0, self._length(response, url)
                validator = _validator(response.headers)
                known = {"url": url, "mark": validator, "total": total}
                self._start_over(known if validator and total else {})
            self._receive(response, offset=offset, total=total)

    def _length(self, response: requests.Response, url: str) -> int | None:
        length = response.headers.get("Content-Length")
        total = int(length) if length else None
        if None not in (total, self.size) and total != self.size:
            raise ValueError(f"{url}: got {total} bytes, want {self.size} of the release")
        return total

    def _receive(self, response: requests.Response, *, offset: int, total: int | None) -> None:
        size = total or self.size
        level = logging.DEBUG if size and size < _SMALL and not offset else logging.INFO
        log.log(
            level, "%s: downloading%s", self.part.stem, f" from byte {offset}" if offset else ""
        )
        if size:
            # The unpacked size is not known yet, but is at least that of the archive.
            check_disk(
                f"{response.url}: to download and unpack it",
                need=2 * size - offset,
                folder=self.part.parent,
            )
        with (
            self.part.open("ab") as out,
            tqdm(
                desc=self.part.stem,
                total=size,
                initial=offset,
                unit="B",
                unit_scale=True,
                disable=None if not size or size >= _SMALL else True,  # None: unless on a terminal
            ) as bar,
        ):
            # Not decoded: a server may label a .tar.gz as a .tar with gzip encoding.
            for chunk in response.raw.stream(CHUNK, decode_content=False):
                out.write(chunk)
                bar.update(len(chunk))


def download(file: File, *, folder: Path, pause: Callable[[float], None] = time.sleep) -> Path:
    """Download a file, unless an earlier run did, and check it.

    Its addresses are tried in order, after those of which something was downloaded before.

    Parameters
    ----------
    file : File
    folder : Path
        where to download it to
    pause : callable
        see Resuming

    Returns
    -------
    Path
        of the complete file

    Raises
    ------
    OSError
        see Resuming; of several addresses, the message of each
    ValueError
        see Resuming; or if the checksum is wrong, naming both: the file is removed
    """
    folder.mkdir(parents=True, exist_ok=True)
    addresses = sorted(file.addresses, key=lambda address: _missing(address, folder=folder))
    errors = []
    for number, address in enumerate(addresses, start=1):
        try:
            return _download(address, folder=folder, pause=pause)
        except (OSError, ValueError) as error:
            if len(addresses) == 1:
                raise
            errors.append(str(error))
            if number < len(addresses):
                log.warning("%s; next address: %s", error, addresses[number].url)
    raise OSError("; ".join(errors))


def _missing(address: Address, *, folder: Path) -> int:
    """0 if there is a file of an address, 1 if there is a part of it, else 2."""
    names = (address.name, f"{address.name}.part")
    return next((i for i, name in enumerate(names) if (folder / name).exists()), 2)


def _download(address: Address, *, folder: Path, pause: Callable[[float], None]) -> Path:
    pooch.get_logger().setLevel(logging.WARNING)  # it advises to note the checksum
    part = folder / f"{address.name}.part"
    downloader = Resuming(part, size=address.size, pause=pause)
    found = pooch.retrieve(
        address.url, address.checksum, fname=address.name, path=folder, downloader=downloader
    )
    return Path(found)


def read_json(url: str, *, pause: Callable[[float], None] = time.sleep) -> Any:
    """Read what a server answers in JSON, over its transient errors.

    Raises
    ------
    OSError
        if the server refuses, cannot be reached or answers something else
    """
    for failures in range(1, TRIES + 1):
        try:
            response = requests.get(url, timeout=TIMEOUT_S)
            response.raise_for_status()
            return response.json()
        except requests.RequestException as error:
            if failures == TRIES or not _is_transient(error):
                raise OSError(f"{url}: {_reason(error)}") from error
            pause(2**failures)
    raise AssertionError  # the last try returns or raises


def _validator(headers: CaseInsensitiveDict) -> str | None:
    """Return the strong validator of a file's version; a weak ETag does not stand for each byte."""
    etag = headers.get("ETag", "W/")
    return headers.get("Last-Modified") if etag.startswith("W/") else etag


def _continues(response: requests.Response, offset: int, known: dict) -> bool:
    """Whether a response is the rest of the file whose beginning is known."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    return (
        match is not None
        and (int(match[1]), int(match[2])) == (offset, known["total"])
        and _validator(response.headers) in (None, known["mark"])
    )


def _is_transient(error: Exception) -> bool:
    """Whether another try may succeed."""
    response = getattr(error, "response", None)
    if response is not None:
        return response.status_code >= 500 or response.status_code in TOO_BUSY
    return isinstance(error, _INTERRUPTED)


def _reason(error: BaseException) -> str:
    """Describe the first cause of an error; its wrappers only repeat the address."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"{response.status_code} {response.reason}"
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__
