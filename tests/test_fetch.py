"""Fetching corpora from a local server that interrupts, changes and corrupts what it sends."""

import hashlib
import io
import json
import logging
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest
from dvc.config import Config
from omegaconf import OmegaConf

from stages import fetch
from stages.fetching import plan, transfer
from stages.fetching.downloads import DONE, FAILED, NOT_ACCEPTED, fetch_corpora
from stages.fetching.plan import File, read_plan
from stages.fetching.transfer import TRIES, download
from stages.fetching.unpack import BrokenArchive, place, unpack
from stages.running import resources as room
from stages.running.entry import run_command
from stages.sources.files import locate
from tests.support import ROOT

CONTENT = bytes(range(256)) * 400
CLIPS = {"Actor_01/a.wav": b"first clip", "Actor_02/b.wav": b"second clip" * 500}


class Server(ThreadingHTTPServer):
    """Serves one file at every address that has no page of its own.

    Attributes
    ----------
    pages : dict
        path without a query to content
    answers : list of dict
        how to answer the next requests: `status` to send instead of the file, `cut` for the number
        of bytes after which to break off. Later requests get the whole file.
    heard : list of dict
        headers of the requests so far
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.pages = content, {}
        self.marks = {"ETag": '"1"'}
        self.more_headers = {}
        self.ranges = self.length = True
        self.if_range = True  # if not, ranges of a changed file are sent
        self.answers = []
        self.heard = []
        self.url = f"http://127.0.0.1:{self.server_port}/archive.zip"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        server.heard.append(dict(self.headers))
        answer = server.answers.pop(0) if server.answers else {}
        if "status" in answer:
            return self.send_error(answer["status"])
        asked = self.headers.get("Range", "") if server.ranges else ""
        unchanged = self.headers.get("If-Range") in server.marks.values() or not server.if_range
        start = int(asked[len("bytes=") : -1]) if asked and unchanged else 0
        content = server.pages.get(self.path.partition("?")[0], server.content)
        if start > len(content):
            return self.send_error(416)
        body = content[start:]
        self.send_response(206 if start else 200)
        for header in (server.marks | server.more_headers).items():
            self.send_header(*header)
        if start:
            end = len(content)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
        if server.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: answer.get("cut")])


@pytest.fixture
def server():
    with Server(CONTENT) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def get(server, tmp_path):
    """Download the file of the server; `get.pauses` holds the pauses between tries."""

    def run(*, url=None, checksum=None, size=None) -> bytes:
        file = File(url or server.url, "archive.zip", checksum, size, "*.wav", ".")
        run.pauses = []
        return download(file, folder=tmp_path / "got", pause=run.pauses.append).read_bytes()

    return run


def listing(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


# Transfer


def test_a_file_is_downloaded_and_nothing_is_left_beside_it(get, server, tmp_path):
    assert get(checksum=md5(CONTENT), size=len(CONTENT)) == CONTENT
    assert listing(tmp_path / "got") == ["archive.zip"]
    assert "Range" not in server.heard[0]


def test_an_interrupted_transfer_resumes(get, server, caplog):
    caplog.set_level(logging.INFO)
    server.answers = [{"cut": 70_000}, {"cut": 20_000}]
    assert get() == CONTENT
    assert [heard.get("Range") for heard in server.heard] == [None, "bytes=70000-", "bytes=90000-"]
    assert [heard.get("If-Range") for heard in server.heard] == [None, '"1"', '"1"']
    assert get.pauses == [2, 2]  # each try brought new bytes
    assert "70000 bytes read" in caplog.text
    assert "from byte 90000" in caplog.text


def test_the_next_run_resumes_where_the_last_one_gave_up(get, server, tmp_path):
    server.answers = [{"cut": 70_000}, *[{"cut": 0}] * TRIES]
    with pytest.raises(OSError, match=f"{TRIES} times; 70000 bytes"):
        get()
    assert get.pauses == [2, 4, 8, 16]
    assert listing(tmp_path / "got") == ["archive.zip.part", "archive.zip.part.json"]
    server.answers, server.heard = [], []
    assert get() == CONTENT
    assert [heard["Range"] for heard in server.heard] == ["bytes=70000-"]


def test_a_run_stopped_after_the_last_byte_needs_no_further_request(get, server, monkeypatch):
    monkeypatch.setattr(transfer, "os", SimpleNamespace(replace=stop))
    with pytest.raises(KeyboardInterrupt):
        get()
    monkeypatch.undo()
    assert get() == CONTENT
    assert len(server.heard) == 1


def stop(*_, **__):
    raise KeyboardInterrupt


def test_a_server_without_ranges_starts_over(get, server):
    server.ranges = False
    server.answers = [{"cut": 70_000}]
    assert get() == CONTENT
    assert len(server.heard) == 2


def test_a_server_without_ranges_that_never_gets_further_fails(get, server):
    server.ranges = False
    server.answers = [{"cut": 70_000}] * 100
    with pytest.raises(OSError, match=f"{TRIES} times"):
        get()
    assert len(server.heard) == TRIES


@pytest.mark.parametrize("if_range", [True, False])
@pytest.mark.parametrize("longer", [b"", b"!"])
def test_two_versions_of_a_file_are_never_joined(get, server, if_range, longer):
    server.answers = [{"cut": 70_000}, *[{"status": 503}] * TRIES]
    with pytest.raises(OSError, match="503"):
        get()
    server.answers, server.if_range = [], if_range
    server.content, server.marks = CONTENT[::-1] + longer, {"ETag": '"2"'}
    assert get() == CONTENT[::-1] + longer


def test_a_partial_file_longer_than_the_file_is_discarded(get, server, tmp_path):
    server.answers = [{"cut": 70_000}, *[{"status": 503}] * TRIES]
    with pytest.raises(OSError, match="503"):
        get()
    with (tmp_path / "got" / "archive.zip.part").open("ab") as part:
        part.write(CONTENT)
    assert get() == CONTENT


@pytest.mark.parametrize(
    ("marks", "asked"),
    [
        ({}, None),
        ({"ETag": 'W/"1"'}, None),
        ({"Last-Modified": "Sat, 01 Jan 2022 00:00:00 GMT"}, "bytes=70000-"),
        ({"ETag": 'W/"1"', "Last-Modified": "Sat, 01 Jan 2022 00:00:00 GMT"}, "bytes=70000-"),
    ],
)
def test_only_a_strong_validator_allows_resuming(get, server, marks, asked):
    server.marks, server.answers = marks, [{"cut": 70_000}]
    assert get() == CONTENT
    assert server.heard[1].get("Range") == asked


def test_a_partial_file_of_another_address_is_not_resumed(get, server):
    server.answers = [{"cut": 70_000}, *[{"status": 503}] * TRIES]
    with pytest.raises(OSError, match="503"):
        get()
    server.heard = []
    assert get(url=f"{server.url}?version=2") == CONTENT
    assert "Range" not in server.heard[0]


def test_a_file_of_unknown_length(get, server):
    server.length = False
    assert get() == CONTENT


def test_a_content_encoding_is_not_decoded(get, server):
    server.more_headers = {"Content-Encoding": "gzip"}
    assert get() == CONTENT
    assert server.heard[0]["Accept-Encoding"] == "identity"


def test_a_wrong_checksum_is_reported_and_the_next_run_downloads_again(get, server, tmp_path):
    server.content = CONTENT[::-1]
    with pytest.raises(ValueError) as error:
        get(checksum=md5(CONTENT))
    assert md5(CONTENT) in str(error.value)
    assert hashlib.md5(CONTENT[::-1]).hexdigest() in str(error.value)
    assert listing(tmp_path / "got") == []
    server.content = CONTENT
    assert get(checksum=md5(CONTENT)) == CONTENT


def test_a_file_from_an_earlier_run_is_not_downloaded_again(get, server, tmp_path):
    get(checksum=md5(CONTENT))
    get(checksum=md5(CONTENT))
    assert len(server.heard) == 1
    (tmp_path / "got" / "archive.zip").write_bytes(b"damaged")
    assert get(checksum=md5(CONTENT)) == CONTENT
    assert len(server.heard) == 2


def test_a_size_other_than_that_of_the_release_is_refused_at_once(get, server, tmp_path):
    with pytest.raises(ValueError, match="got 102400 bytes, want 5"):
        get(size=5)
    assert listing(tmp_path / "got") == []


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_not_tried_again(get, server, status):
    server.answers = [{"status": status}]
    with pytest.raises(OSError, match=rf"127.0.0.1:\d+/archive.zip: {status} "):
        get()
    assert len(server.heard) == 1
    assert get.pauses == []


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_a_transient_error_is_tried_again(get, server, status):
    server.answers = [{"status": status}] * (TRIES - 1)
    assert get() == CONTENT
    server.answers = [{"status": status}] * TRIES
    with pytest.raises(OSError, match=rf": {status} .*, {TRIES} times"):
        get(url=f"{server.url}?again", checksum=md5(b""))


def test_an_unreachable_server_is_named_with_the_reason(get, server):
    with pytest.raises(OSError, match=r"http://127\.0\.0\.1:1/x: .*Connection refused, 5 times"):
        get(url="http://127.0.0.1:1/x")
    assert len(get.pauses) == TRIES - 1


def test_an_invalid_address_is_not_tried_again(get):
    with pytest.raises(OSError, match="htp://x/y"):
        get(url="htp://x/y")
    assert get.pauses == []


def disk_of(monkeypatch, free: int) -> None:
    usage = room.shutil._ntuple_diskusage(10**12, 10**12 - free, free)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda folder: usage)


@pytest.mark.parametrize("known", [True, False])
def test_the_disk_must_hold_the_archive_and_its_content(get, server, monkeypatch, tmp_path, known):
    server.length = not known
    disk_of(monkeypatch, 2 * len(CONTENT) - 1)
    with pytest.raises(ValueError, match="archive.zip: .* are free"):
        get(size=len(CONTENT) if known else None)
    assert (tmp_path / "got" / "archive.zip.part").stat().st_size == 0
    disk_of(monkeypatch, 2 * len(CONTENT))
    assert get() == CONTENT


def test_received_bytes_count_for_the_disk(get, server, monkeypatch):
    server.answers = [{"cut": 70_000}, *[{"status": 503}] * TRIES]
    with pytest.raises(OSError, match="503"):
        get()
    disk_of(monkeypatch, 2 * len(CONTENT) - 70_000)
    assert get() == CONTENT


def test_progress_is_silent_without_a_terminal(get, capfd):
    get()
    assert capfd.readouterr() == ("", "")


# Archives


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return path


def make_tar(path: Path, members: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


MAKE = {
    "zip": make_zip,
    "tar": partial(make_tar, mode="w"),
    "tar.gz": make_tar,
    "tar.xz": partial(make_tar, mode="w:xz"),
}


@pytest.fixture(params=MAKE)
def make(request, tmp_path):
    return lambda members: MAKE[request.param](tmp_path / "archive", members)


def read_all(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def refuse(path: Path, folder: Path, message: str, kind: type = ValueError, take="*.wav") -> None:
    """Check that unpacking fails with a message and writes nothing, here or elsewhere."""
    before = read_all(folder.parent)
    with pytest.raises(kind, match=message):
        unpack(path, take=take, folder=folder)
    assert read_all(folder.parent) == before


def test_an_archive_is_unpacked_with_its_folders(make, tmp_path):
    unpack(make(CLIPS), take="*.wav", folder=tmp_path / "out")
    assert read_all(tmp_path / "out") == CLIPS


def test_only_matching_members_are_taken(make, tmp_path):
    others = {
        "x/C.WAV": b"3",
        "README.txt": b"",
        "__MACOSX/a.wav": b"",
        "x/._a.wav": b"",
        "wav": b"",
    }
    unpack(make(CLIPS | others), take="*.wav", folder=tmp_path / "out")
    assert read_all(tmp_path / "out") == CLIPS | {"x/C.WAV": b"3"}
    refuse(make(CLIPS), tmp_path / "other", r"archive: got 2 files, want .*x/\*", take="x/*")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../evil.wav", "climbs"),
        ("a/../../evil.wav", "climbs"),
        ("a/..", "climbs"),
        ("/tmp/evil.wav", "absolute"),
        ("C:/evil.wav", "absolute"),
        ("c:evil.wav", "absolute"),
        ("..\\evil.wav", "backslash"),
        ("a\\b.wav", "backslash"),
        ("../notes.txt", "climbs"),  # although it does not match
    ],
)
def test_members_outside_the_folder_are_refused_by_name(make, tmp_path, name, reason):
    with pytest.raises(ValueError, match=reason) as error:
        unpack(make(CLIPS | {name: b"x"}), take="*.wav", folder=tmp_path / "out")
    assert f"archive: member {name!r} " in str(error.value)
    assert read_all(tmp_path / "out") == {}
    assert listing(tmp_path) == ["archive", "out"]


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip_are_refused(tmp_path, mode):
    info = zipfile.ZipInfo("a.wav")
    info.external_attr = (mode | 0o644) << 16
    with zipfile.ZipFile(tmp_path / "archive", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    reason = "is a link" if mode == stat.S_IFLNK else "is a device"
    refuse(tmp_path / "archive", tmp_path / "out", f"'a.wav' {reason}; nothing")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    info = tarfile.TarInfo("a.wav")
    info.type, info.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "archive", "w:gz") as archive:
        archive.addfile(info)
    reason = "is a link" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else "is a device"
    refuse(tmp_path / "archive", tmp_path / "out", f"'a.wav' {reason}; nothing")


@pytest.mark.parametrize("name", ["a.wav", "./a.wav", ".//a.wav"])
def test_a_name_that_occurs_twice_is_refused(tmp_path, name):
    for mode in ("w:gz", "w"):
        with tarfile.open(tmp_path / "archive", mode) as archive:
            archive.addfile(tarfile.TarInfo("a.wav"))
            archive.addfile(tarfile.TarInfo(name))
        refuse(tmp_path / "archive", tmp_path / "out", f"'{name}' occurs twice")
    with (
        zipfile.ZipFile(tmp_path / "archive", "w") as archive,
        pytest.warns(UserWarning, match="Duplicate name")
        if name == "a.wav"
        else pytest.MonkeyPatch.context(),
    ):
        archive.writestr("a.wav", b"1")
        archive.writestr(name, b"2")
    refuse(tmp_path / "archive", tmp_path / "out", f"'{name}' occurs twice")


def test_folders_may_occur_twice(tmp_path):
    with tarfile.open(tmp_path / "archive", "w:gz") as archive:
        for name in (".", "./x", "./x/"):
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE
            archive.addfile(info)
        archive.addfile(tarfile.TarInfo("./x/a.wav"))
    unpack(tmp_path / "archive", take="*.wav", folder=tmp_path / "out")
    assert read_all(tmp_path / "out") == {"x/a.wav": b""}


def test_a_file_that_is_a_folder_as_well_is_refused(make, tmp_path):
    refuse(make({"x": b"", "x/a.wav": b""}), tmp_path / "out", "'x' is both a file and a folder")


def test_an_encrypted_member_is_refused(tmp_path):
    path = make_zip(tmp_path / "archive", CLIPS)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    refuse(path, tmp_path / "out", "'Actor_01/a.wav' is encrypted")


@pytest.mark.parametrize(
    "name", [f"x/{'é' * 125}.wav", f"{'x' * 256}/a.wav", f"{'x/' * 2100}a.wav"]
)
def test_names_that_are_too_long_are_refused_before_anything_is_written(make, tmp_path, name):
    path = make({"a.wav": b"1", name: b"2", "z.wav": b"3"})
    refuse(path, tmp_path / "out", "has too long a name; nothing")
    unpack(path, take="[az].wav", folder=tmp_path / "out")
    assert set(read_all(tmp_path / "out")) == {"a.wav", "z.wav"}


def test_the_longest_name_that_is_taken_can_be_placed(make, tmp_path):
    name = f"{'x' * 245}.wav"
    unpack(make({name: b"1"}), take="*.wav", folder=tmp_path / "out")
    assert place(tmp_path / "out", target=tmp_path / "corpus") == (1, 0)


def test_huge_members_that_are_not_taken_are_not_read(tmp_path, monkeypatch):
    members = {"notes.txt": bytes(10**6), "a.wav": b"1"}
    path, read = make_zip(tmp_path / "archive", members), []
    whole = zipfile.ZipExtFile.read

    def count(file, n=-1):
        read.append(whole(file, n))
        return read[-1]

    monkeypatch.setattr(zipfile.ZipExtFile, "read", count)
    unpack(path, take="*.wav", folder=tmp_path / "out")
    assert sum(map(len, read)) == 2  # checked, then written
    monkeypatch.setattr("stages.fetching.unpack._SMALL", 10**5)
    path = make_tar(tmp_path / "archive", members)
    refuse(path, tmp_path / "other", r"'notes.txt' is too large: got 1000000 bytes.*want at most")
    make_tar(path, {"a.wav": b"1"})
    with tarfile.open(path, "w:gz") as archive:
        archive.fileobj.write(bytes(10**6))
    refuse(path, tmp_path / "other", "more than .* bytes of content", BrokenArchive)


def test_an_archive_is_not_unpacked_without_room_on_disk(make, tmp_path, monkeypatch):
    """Even if it grows a thousandfold: the size is that of its members."""
    bomb = {f"{i}.wav": bytes(10**6) for i in range(5)}
    path = make(bomb)
    disk_of(monkeypatch, 5 * 10**6 - 1)
    refuse(path, tmp_path / "out", "archive: .* 5.0 MB on disk")
    disk_of(monkeypatch, 5 * 10**6)
    unpack(path, take="*.wav", folder=tmp_path / "out")
    assert read_all(tmp_path / "out") == bomb


def test_a_member_that_is_longer_than_it_says_is_not_written(tmp_path):
    path = make_zip(tmp_path / "archive", {"a.wav": bytes(10**6)})
    content = path.read_bytes().replace((10**6).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    path.write_bytes(content)
    refuse(path, tmp_path / "out", "'a.wav' is damaged", BrokenArchive)


@pytest.mark.parametrize("form", ["zip", "tar.gz", "tar.xz"])
def test_no_damaged_byte_goes_unnoticed(tmp_path, form):
    """If reading succeeds, the content is right. The directory of a zip has no checksum."""
    path = MAKE[form](tmp_path / "archive", CLIPS)
    whole, noticed = path.read_bytes(), 0
    for position in range(whole.find(b"PK\x01\x02") if form == "zip" else len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        try:
            unpack(path, take="*.wav", folder=tmp_path / "out")
        except (ValueError, OSError):
            noticed += 1
        else:
            assert sorted(read_all(tmp_path / "out").values()) == sorted(CLIPS.values())
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert noticed > len(whole) / 3


@pytest.mark.parametrize("form", ["zip", "tar.gz", "tar.xz"])
def test_a_truncated_archive_is_always_refused(tmp_path, form):
    path = MAKE[form](tmp_path / "archive", CLIPS)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(BrokenArchive, match="^archive: "):
            unpack(path, take="*.wav", folder=tmp_path / "out")
        assert read_all(tmp_path / "out") == {}


def test_a_wrong_checksum_of_an_archive_makes_it_broken(tmp_path):
    path = make_tar(tmp_path / "archive", CLIPS)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1  # in the CRC-32 at the end
    path.write_bytes(content)
    refuse(path, tmp_path / "out", "archive: .*CRC check failed", BrokenArchive)


def test_a_member_with_two_different_names_is_damaged(tmp_path):
    path = make_zip(tmp_path / "archive", CLIPS)
    before, _, after = path.read_bytes().rpartition(b"b.wav")
    path.write_bytes(before + b"b.way" + after)
    refuse(path, tmp_path / "out", "'Actor_02/b.way' is damaged", BrokenArchive)


def test_a_web_page_instead_of_an_archive_is_refused(tmp_path):
    (tmp_path / "archive").write_bytes(b"<!DOCTYPE html><title>Log in</title>")
    refuse(tmp_path / "archive", tmp_path / "out", "DOCTYPE.*want .*zip or tar", BrokenArchive)


# Moving into place


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_existing_files_stay_as_they_are(tmp_path):
    source = write(tmp_path / "new", CLIPS)
    target = write(tmp_path / "old", {"Actor_01/a.wav": b"first clip", "mine.txt": b"notes"})
    before = (target / "Actor_01/a.wav").stat()
    assert place(source, target=target) == (1, 1)
    assert read_all(target) == CLIPS | {"mine.txt": b"notes"}
    after = (target / "Actor_01/a.wav").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    "mine", [{"Actor_02/b.wav": b"my own"}, {"Actor_02": b""}, {"Actor_02/b.wav/c": b""}]
)
def test_a_conflicting_file_is_named_and_nothing_is_moved(tmp_path, mine):
    source, target = write(tmp_path / "new", CLIPS), write(tmp_path / "old", mine)
    with pytest.raises(ValueError, match=r"old/Actor_02(/b\.wav)?: already exists"):
        place(source, target=target)
    assert read_all(target) == mine
    assert read_all(source) == CLIPS


def test_a_file_of_the_same_size_and_age_is_compared_by_content(tmp_path):
    source = write(tmp_path / "new", {"a.wav": b"12"})
    target = write(tmp_path / "old", {"a.wav": b"21"})
    for folder in (source, target):
        os.utime(folder / "a.wav", (0, 0))
    with pytest.raises(ValueError, match="a.wav: already exists"):
        place(source, target=target)


def test_conflicting_files_are_counted(tmp_path):
    source = write(tmp_path / "new", CLIPS)
    target = write(tmp_path / "old", {name: b"mine" for name in CLIPS})
    with pytest.raises(ValueError, match=r"Actor_01/a\.wav and 1 more: already exists"):
        place(source, target=target)


def test_a_broken_link_is_a_conflict_too(tmp_path):
    source, target = write(tmp_path / "new", CLIPS), write(tmp_path / "old", {})
    (target / "Actor_01").mkdir(parents=True)
    (target / "Actor_01" / "a.wav").symlink_to(tmp_path / "gone")
    with pytest.raises(ValueError, match=r"a\.wav: already exists"):
        place(source, target=target)
    assert not (tmp_path / "gone").exists()


def test_files_are_moved_into_a_linked_folder(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "corpus").symlink_to(elsewhere)
    assert place(write(tmp_path / "new", CLIPS), target=tmp_path / "corpus") == (2, 0)
    assert read_all(elsewhere) == CLIPS


# Corpora


@pytest.fixture
def project(tmp_path, monkeypatch, server):
    """A repository with the corpora `one` and `two`, both on the server."""
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "global"))
    monkeypatch.setenv("DVC_SYSTEM_CONFIG_DIR", str(tmp_path / "system"))
    root = tmp_path / "project"
    for folder in (".dvc", "data/raw", "conf/corpora"):
        (root / folder).mkdir(parents=True)
    shutil.copy(ROOT / ".dvc" / "config", root / ".dvc")
    monkeypatch.chdir(root)
    server.content = make_zip(tmp_path / "served.zip", CLIPS).read_bytes()
    corpus("one", server.url)
    corpus("two", server.url)
    return root


def corpus(corpus: str, address: str, /, *, steps: list[str] | None = None, **changes) -> None:
    file = {"url": address, "name": "a.zip", "checksum": None, "size": None} | changes
    file = {"take": "*.wav", "into": "."} | file
    settings = {
        "licence": {"name": "CC BY 4.0", "url": "https://example.org/by"},
        "files": [] if steps else [file],
        "steps": steps or [],
    }
    OmegaConf.save({corpus: {"download": settings}}, plan.CONF / f"{corpus}.yaml")


def run(*names: str, folder: Path | None = None, accepted: bool = True) -> int:
    return fetch_corpora(names, folder=folder, accepted=accepted, pause=lambda seconds: None)


@pytest.fixture
def logged(caplog):
    caplog.set_level(logging.INFO)
    return caplog


def test_nothing_is_downloaded_before_the_licence_is_accepted(project, server, logged):
    assert run("one", accepted=False) == NOT_ACCEPTED == 2
    assert "one: CC BY 4.0, https://example.org/by" in logged.text
    assert "no checksum is published" in logged.text
    assert "--accept-licence" in logged.text
    assert server.heard == []
    assert listing(project / "data" / "raw") == []
    assert not (project / ".dvc" / "config.local").exists()


def test_a_corpus_is_fetched_to_where_the_alias_points(project, logged):
    assert run("one") == DONE == 0
    assert read_all(project / "data/raw/one") == CLIPS
    assert listing(project / "data/raw/.downloads") == ["one", "one/a.zip"]
    assert f"one: 2 files placed in {project}/data/raw/one, 0 already" in logged.text


def test_the_alias_becomes_absolute(project, logged):
    run("one")
    local = Config.from_cwd().load_one("local")["remote"]["corpora"]["url"]
    assert local == str(project / "data/raw")
    command = f"dvc remote modify --local corpora url {project}/data/raw"
    assert logged.messages[-1].endswith(command)
    assert run("one") == DONE
    assert logged.text.count(command) == 1


def test_the_alias_is_set_to_another_folder(project, tmp_path):
    assert run("one", folder=Path("../my speech")) == DONE
    assert locate("remote://corpora/one") == tmp_path / "my speech" / "one"
    assert read_all(tmp_path / "my speech" / "one") == CLIPS
    assert run("two") == DONE  # the default is the alias
    assert read_all(tmp_path / "my speech" / "two") == CLIPS


@pytest.mark.parametrize("level", ["local", "global", "repo"])
def test_an_alias_set_by_the_user_stays(project, tmp_path, logged, level):
    mine = tmp_path / "mine"
    mine.mkdir()
    with Config.from_cwd().edit(level) as config:
        config["remote"].setdefault("corpora", {})["url"] = str(mine)
    if level == "global":  # the one of the repository would override it
        with Config.from_cwd().edit("repo") as config:
            del config["remote"]["corpora"]
    assert run("one", folder=tmp_path / "a b") == DONE
    assert locate("remote://corpora") == mine
    assert f"still points to {mine}" in logged.text
    assert f"dvc remote modify --local corpora url '{tmp_path}/a b'" in logged.text
    assert run("one") == DONE
    assert read_all(mine / "one") == CLIPS


def test_an_alias_set_by_an_earlier_run_stays_too(project, tmp_path):
    assert run("one") == DONE
    assert run("two", folder=tmp_path / "to") == DONE
    assert locate("remote://corpora") == project / "data/raw"


def test_the_alias_takes_any_letters_and_keeps_other_settings(project, tmp_path):
    local = Path(".dvc/config.local")
    local.write_text("# mine\n[core]\n    autostage = true\n")
    folder = tmp_path / "Jörg, 音 #1"
    folder.mkdir()
    assert run("one", folder=folder) == DONE
    assert locate("remote://corpora/one") == folder / "one"
    assert Config.from_cwd()["core"]["autostage"] is True
    assert "# mine" in local.read_text(encoding="utf-8")


def test_a_missing_alias_is_set(project, tmp_path):
    (project / ".dvc" / "config").write_text("")
    assert run("one", folder=tmp_path / "to") == DONE
    assert locate("remote://corpora") == tmp_path / "to"


def test_an_alias_to_a_missing_folder_does_not_create_it(project, tmp_path, logged):
    with Config.from_cwd().edit("local") as config:
        config["remote"]["corpora"] = {"url": str(tmp_path / "unplugged")}
    assert run("one") == FAILED == 1
    assert "unplugged: no such folder" in logged.text
    assert not (tmp_path / "unplugged").exists()


def test_no_alias_is_set_if_nothing_was_fetched(project, server, tmp_path):
    server.answers = [{"status": 404}]
    assert run("one", folder=tmp_path / "to") == FAILED
    assert locate("remote://corpora") == project / "data/raw"


def test_a_second_run_changes_and_requests_nothing(project, server, logged):
    run("one")
    before = {path: path.stat().st_mtime_ns for path in (project / "data/raw/one").rglob("*")}
    assert run("one") == DONE
    assert "0 files placed" in logged.text and "2 already there" in logged.text
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert len(server.heard) == 1


def test_a_missing_file_is_restored_without_a_download(project, server):
    run("one")
    (project / "data/raw/one/Actor_01/a.wav").unlink()
    assert run("one") == DONE
    assert read_all(project / "data/raw/one") == CLIPS
    assert len(server.heard) == 1


def test_a_conflicting_file_stops_only_its_corpus(project, logged):
    write(project / "data/raw/one", {"Actor_02/b.wav": b"my own"})
    assert run("one", "two") == FAILED
    assert read_all(project / "data/raw/one") == {"Actor_02/b.wav": b"my own"}
    assert read_all(project / "data/raw/two") == CLIPS
    assert "one/Actor_02/b.wav: already exists" in logged.text
    assert logged.messages[-1] == "not fetched: one"
    assert listing(project / "data/raw/.downloads/one") == ["a.zip"]


def test_each_of_several_corpora_has_a_message(project, server, logged):
    corpus("half", server.url, checksum=md5(b"something else"))
    corpus("mine", "")
    OmegaConf.save({"mine": {"reader": None, "download": None}}, plan.CONF / "mine.yaml")
    assert run("half", "nil", "mine", "one", "nil", "one", "two") == FAILED
    assert "nil: no such corpus, want one of: half, mine, one, two" in logged.text
    assert "half: MD5 hash of downloaded file (a.zip) does not match" in logged.text
    assert "mine: your own data" in logged.text
    assert read_all(project / "data/raw/one") == read_all(project / "data/raw/two") == CLIPS
    assert not (project / "data/raw/half").exists()
    assert logged.messages[-1] == "not fetched: nil, half"
    assert run("mine") == DONE


def test_manual_steps_are_printed(project, logged):
    corpus("gate", "", steps=["Register", "Unpack into {folder}", "rm {downloads}/x"])
    assert run("gate", folder=Path("a b"), accepted=False) == FAILED
    assert f"2. Unpack into '{project}/a b/gate'" in logged.text
    assert f"3. rm '{project}/a b/.downloads/gate'/x" in logged.text
    write(project / "a b" / "gate", CLIPS)
    assert run("gate", folder=Path("a b"), accepted=False) == DONE
    assert "gate: " in logged.text and "already there" in logged.text
    assert locate("remote://corpora") == project / "a b"


def test_plain_files_and_target_folders(project, server):
    files = [
        {"url": server.url, "name": "a.zip", "checksum": None, "size": None, "take": "*.wav"},
        {"url": server.url, "name": "ages.csv", "checksum": None, "size": None, "take": None},
    ]
    settings = OmegaConf.load(plan.CONF / "one.yaml")
    settings.one.download.files = [
        file | {"into": into} for file, into in zip(files, ("x", "y/z"), strict=True)
    ]
    OmegaConf.save(settings, plan.CONF / "one.yaml")
    assert run("one") == DONE
    wanted = {f"x/{name}": content for name, content in CLIPS.items()}
    assert read_all(project / "data/raw/one") == wanted | {"y/z/ages.csv": server.content}


def test_a_broken_archive_is_renamed_and_downloaded_again(project, server, logged):
    whole, server.content = server.content, server.content[:-30]
    assert run("one") == FAILED
    assert "a.zip: " in logged.text and "a.zip.broken" in logged.text
    assert listing(project / "data/raw/.downloads") == ["one", "one/a.zip.broken"]
    assert not (project / "data/raw/one").exists()
    server.content = whole
    assert run("one") == DONE
    assert read_all(project / "data/raw/one") == CLIPS


def test_an_archive_with_outside_members_leaves_no_trace(project, server, logged, tmp_path):
    server.content = make_zip(tmp_path / "evil.zip", CLIPS | {"../../evil.wav": b""}).read_bytes()
    assert run("one") == FAILED
    assert "member '../../evil.wav' climbs out of its folder" in logged.text
    assert listing(project / "data/raw") == [".downloads", ".downloads/one", ".downloads/one/a.zip"]


def test_a_disk_that_fills_up_keeps_the_download(project, server, logged, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("stages.fetching.unpack.shutil.copyfileobj", full)
    assert run("one") == FAILED
    assert "No space left on device" in logged.text
    assert listing(project / "data/raw") == [".downloads", ".downloads/one", ".downloads/one/a.zip"]


# The command and the settings


@pytest.mark.slow
def test_the_command_prints_messages_and_has_exit_codes(project, server):
    """As a user runs it; scripts rely on the exit codes."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "stages.fetch", "one", "--to", "speech"]

    def call(*options: str) -> subprocess.CompletedProcess:
        return subprocess.run([*command, *options], env=environment, capture_output=True, text=True)

    asked = call()
    assert (asked.returncode, asked.stderr) == (2, "")
    assert "CC BY 4.0" in asked.stdout and "--accept-licence" in asked.stdout
    done = call("--accept-licence")
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 files placed in" in done.stdout
    assert call("three", "--accept-licence").returncode == 1
    assert read_all(project / "speech" / "one") == CLIPS


def test_an_interrupted_command_says_how_to_resume(project, monkeypatch, capsys):
    monkeypatch.setattr(fetch, "fetch_corpora", stop)
    monkeypatch.setattr(sys, "argv", ["fetch", "one"])
    with pytest.raises(SystemExit) as ended:
        run_command(fetch.main)
    assert ended.value.code == 130 and "run the same command again" in capsys.readouterr().err


# Several addresses


def gone(name: str = "a.zip") -> dict:
    """An address at which nobody listens."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        port = closed.server_port
    return {"url": f"http://127.0.0.1:{port}/{name}", "name": name, "checksum": None, "size": None}


def mirror(server, **changes) -> dict:
    return {"url": server.url, "name": "b.zip", "checksum": None, "size": None} | changes


def test_addresses_are_tried_in_order(project, server, logged):
    checksum = md5(server.content)
    corpus("one", "", **gone(), mirrors=[gone("c.zip"), mirror(server, checksum=checksum)])
    assert run("one") == DONE
    assert read_all(project / "data/raw/one") == CLIPS
    assert len(re.findall(r"Connection refused, 5 times.*; next address", logged.text)) == 2
    assert f"or else 127.0.0.1:{server.server_port}" in logged.text
    logged.clear()
    shutil.rmtree(project / "data/raw/one")
    assert run("one") == DONE  # what is there already comes before addresses that fail
    assert "next address" not in logged.text and len(server.heard) == 1


def test_a_wrong_checksum_leads_to_the_next_address(project, server, logged):
    wrong = mirror(server, checksum=md5(b"x"), name="a.zip", computed=True)
    corpus("one", "", **wrong, mirrors=[mirror(server, checksum=md5(server.content))])
    assert run("one") == DONE
    assert "does not match" in logged.text
    assert "the checksum of 1 of them is not the publisher's, but was computed" in logged.text
    assert "no checksum is published" not in logged.text


def test_all_addresses_that_fail_are_named(project, server, logged):
    server.answers = [{"status": 404}]
    corpus("one", "", **gone(), mirrors=[mirror(server)])
    assert run("one") == FAILED
    (line,) = (text for text in logged.messages if text.startswith("one: http"))
    assert "refused" in line and f"{server.url}: 404" in line


def test_a_part_is_resumed_at_its_own_address(project, server, logged):
    corpus("one", "", **gone(), mirrors=[mirror(server)])
    server.answers = [{"cut": 100}, *[{"status": 503}] * TRIES]
    assert run("one") == FAILED
    assert run("one") == DONE
    assert server.heard[-1]["Range"] == "bytes=100-"


# Dataverse


@pytest.fixture
def dataverse(project, server):
    """A corpus that is a data set of two clips and a text; its listing may be changed."""
    entries = []
    for number, (path, content) in enumerate({**CLIPS, "readme.txt": b"text"}.items(), start=1):
        server.pages[f"/api/access/datafile/{number}"] = content
        folder, _, name = path.rpartition("/")
        checksum = {"type": "MD5", "value": hashlib.md5(content).hexdigest()}
        facts = {"id": number, "filesize": len(content), "checksum": checksum}
        entries.append({"label": name, "directoryLabel": folder, "dataFile": facts})
    url = f"http://127.0.0.1:{server.server_port}"
    settings = OmegaConf.load(plan.CONF / "one.yaml")
    settings.one.download.files = []
    settings.one.download.dataverse = {"server": url, "doi": "doi:10.1/X", "take": "*.wav"}
    OmegaConf.save(settings, plan.CONF / "one.yaml")

    def listing() -> None:
        page = "/api/datasets/:persistentId/versions/:latest-published/files"
        server.pages[page] = json.dumps({"status": "OK", "data": entries}).encode()

    listing()
    return SimpleNamespace(entries=entries, listing=listing)


def test_a_data_set_is_downloaded_file_by_file(project, server, dataverse, logged):
    assert run("one", accepted=False) == NOT_ACCEPTED and not server.heard
    assert "all files of https://doi.org/10.1/X from 127.0.0.1" in logged.text
    server.answers = [{"status": 503}, {}, {}, *[{"status": 404}]]
    assert run("one") == FAILED  # the second clip is refused
    assert run("one") == DONE
    assert read_all(project / "data/raw/one") == CLIPS
    assert len(server.heard) == 4 + 2  # the first clip is not downloaded again


def test_a_data_set_is_checked(project, server, dataverse, logged):
    dataverse.entries[0]["dataFile"]["checksum"]["value"] = "0" * 32
    dataverse.listing()
    assert run("one") == FAILED
    assert "does not match" in logged.text and not (project / "data/raw/one").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "../x.wav"}, "want a name inside the data set"),
        ({"directoryLabel": "a/../.."}, "want a name inside the data set"),
        ({"directoryLabel": "/etc"}, "want a name inside the data set"),
        ({"dataFile": {}}, "an answer of another form"),
        ({"label": "x.txt"}, "want some that match"),
    ],
)
def test_an_odd_listing_is_refused(project, dataverse, logged, change, message):
    del dataverse.entries[1]
    dataverse.entries[0].update(change)
    dataverse.listing()
    assert run("one") == FAILED and message in logged.text
    assert not (project / "data/raw/one").exists()


def test_a_server_without_a_listing_is_named(project, server, dataverse, logged):
    server.pages.clear()
    assert run("one") == FAILED
    assert "one: http://127.0.0.1" in logged.text


def test_a_path_is_not_a_name(project, tmp_path):
    (tmp_path / "x.yaml").write_text("x: {download: null}")
    with pytest.raises(ValueError, match="no such corpus, want one of: one, two"):
        read_plan("../../../x")


def test_outside_the_repository_the_message_says_where_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="root of the repository"):
        read_plan("emodb")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": [{"url": "x"}]}, "missing mandatory value: name"),
        ({"filez": []}, "Key 'filez' not in 'FetchPlan'"),
        ({"files": []}, "either files or steps"),
        ({"steps": ["x"]}, "either files or steps"),
    ],
)
def test_a_plan_of_another_form_names_its_yaml(project, change, message):
    settings = OmegaConf.load(plan.CONF / "one.yaml")
    settings.one.download.update(change)
    OmegaConf.save(settings, plan.CONF / "one.yaml")
    with pytest.raises(ValueError, match=rf"conf/corpora/one\.yaml: .*{message}"):
        read_plan("one")


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("conf/corpora/*.yaml")), ids=lambda path: path.stem
)
def test_every_corpus_has_a_valid_plan(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = read_plan(path.stem)
    if found is None:
        return
    assert found.licence.name and found.licence.url.startswith(("http://", "https://"))
    if found.dataverse:
        assert found.dataverse.server.startswith("https://") and found.dataverse.take == "*.wav"
        assert found.dataverse.doi.startswith("doi:10.")
    names = [address.name for file in found.files for address in file.addresses]
    assert len(set(names)) == len(names)
    for file in found.files:
        assert ".." not in PurePosixPath(file.into).parts and not file.into.startswith("/")
    for address in (address for file in found.files for address in file.addresses):
        assert address.url.startswith(("http://", "https://"))
        assert PurePosixPath(address.name).name == address.name
        if address.checksum:
            algorithm, _, digest = address.checksum.partition(":")
            assert len(bytes.fromhex(digest)) == hashlib.new(algorithm).digest_size
    for step in found.steps:
        shlex.split(step.format(folder="/x/y", downloads="/x/z"))
