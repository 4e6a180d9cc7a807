"""Unpacking archives and moving files into place, without writing elsewhere or overwriting."""

from __future__ import annotations

import filecmp
import gzip
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

from stages.running.outputs import complete, temporary
from stages.running.resources import check_disk
from stages.sources.files import SYSTEM_FOLDERS

_CHUNK = 1 << 20  # bytes
_NAME, _PATH = 255, 2000  # most bytes in a name, and in a path below the folder
# Speech is packed to a tenth at best. A compressed tar is read as a whole to list its members.
_RATIO, _SMALL = 100, 1 << 27
_UNREADABLE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # a compression that zipfile does not know
)


class BrokenArchive(ValueError):
    """An archive that cannot be read; another download may help."""


class Member(NamedTuple):
    """One member of an archive.

    Attributes
    ----------
    name : str
    size : int
        in bytes, as the archive says
    folder : bool
        whether it is a folder
    refused : str
        reason to refuse it, or ""
    open : callable
        opens it for reading
    """

    name: str
    size: int
    folder: bool
    refused: str
    open: Callable[[], IO[bytes]]


def unpack(path: Path, *, take: str, folder: Path) -> None:
    """Check all members of an archive, then unpack it.

    Parameters
    ----------
    path : Path
        zip, or tar in any compression
    take : str
        pattern of the members to take, in which `*` also matches folders; case is ignored. Hidden
        files and the system folders of macOS are not taken.
    folder : Path
        where to unpack; the folders of the archive are kept, and missing folders are created

    Raises
    ------
    BrokenArchive
        if it cannot be read to its end, or if the checksum of a member is wrong
    ValueError
        if a member would be written outside the folder, is a link, a device or encrypted, has too
        long a name, or occurs twice, naming it; if the content is far larger than any speech can
        be; if the disk has no room; if no member matches
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _opened(path) as archive:
        for file, member in _checked(archive, path=path, take=take, folder=folder).items():
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as source, target.open("xb") as out:
                shutil.copyfileobj(source, out, _CHUNK)


def place(source: Path, *, target: Path) -> tuple[int, int]:
    """Move all files of a folder to another one without overwriting any.

    Parameters
    ----------
    source, target : Path
        folders; target is created if it does not exist

    Returns
    -------
    (int, int)
        number of files that were moved, and of those that target already held byte for byte

    Raises
    ------
    ValueError
        if target holds other content under the name of a file; nothing is moved then
    """
    files = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    missing = [file for file in files if not os.path.lexists(target / file)]
    others = {
        target / file
        for file in set(files) - set(missing)
        if not _same(source / file, target / file)
    }
    folders = {target / folder for file in files for folder in file.parents}
    others |= {path for path in folders if os.path.lexists(path) and not path.is_dir()}
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise ValueError(
            f"{min(others)}{more}: already exists with other content; nothing was changed. "
            "Move it, or choose another folder with --to"
        )
    for file in missing:
        with complete(target / file) as part:
            shutil.move(source / file, part)
    return len(missing), len(files) - len(missing)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield archive
        elif tarfile.is_tarfile(path):
            with tarfile.open(path) as archive:
                yield archive
        else:
            with path.open("rb") as file:
                beginning = file.read(20)
            raise BrokenArchive(
                f"{path.name}: got a file beginning with {beginning!r}, want a complete zip or tar"
            )
    except _UNREADABLE as error:
        raise BrokenArchive(f"{path.name}: cannot be read: {error}") from error


def _checked(
    archive: zipfile.ZipFile | tarfile.TarFile, *, path: Path, take: str, folder: Path
) -> dict[PurePosixPath, Member]:
    """Check all members and return those to take, by their path below the folder."""
    taken: dict[PurePosixPath, Member] = {}
    files: set[PurePosixPath] = set()
    size = listed = 0
    most = max(_SMALL, _RATIO * path.stat().st_size)
    members = (
        _zip_members(archive) if isinstance(archive, zipfile.ZipFile) else _tar_members(archive)
    )
    for member in members:
        file = PurePosixPath(member.name)
        refused = member.refused or _outside(member.name)
        if not refused and not member.folder and file in files:
            refused = "occurs twice"
        wanted = not member.folder and _wanted(file, take)
        if not refused and wanted and _too_long(file):
            refused = "has too long a name"
        listed += member.size
        if not refused and isinstance(archive, tarfile.TarFile) and listed > most:
            refused = f"is too large: got {listed} bytes of content, want at most {most}"
        if refused:
            raise ValueError(f"{path.name}: member {member.name!r} {refused}; nothing was unpacked")
        if member.folder:
            continue
        files.add(file)
        if wanted:
            taken[file] = member
            size += member.size
            check_disk(f"{path.name}: its content", need=size, folder=folder)
    _read_to_the_end(archive, taken=taken, most=most)
    if not taken:
        raise ValueError(f"{path.name}: got {len(files)} files, want some that match {take}")
    for file in taken:
        for parent in file.parents:
            if parent in files:
                raise ValueError(
                    f"{path.name}: member {str(parent)!r} is both a file and a folder; "
                    "nothing was unpacked"
                )
    return taken


def _read_to_the_end(
    archive: zipfile.ZipFile | tarfile.TarFile,
    *,
    taken: Mapping[PurePosixPath, Member],
    most: int,
) -> None:
    """Check the checksums of the members to take from a zip, and of a whole compressed tar."""
    if isinstance(archive, zipfile.ZipFile):
        for info in archive.infolist():
            try:
                with archive.open(info) as content:  # compares its two names
                    while PurePosixPath(info.filename) in taken and content.read(_CHUNK):
                        pass
            except zipfile.BadZipFile as error:
                raise zipfile.BadZipFile(f"member {info.filename!r} is damaged") from error
    else:
        while archive.fileobj.read(_CHUNK):
            if archive.fileobj.tell() > most:
                raise tarfile.ReadError(f"got more than {most} bytes of content")


def _zip_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    for info in archive.infolist():
        mode = info.external_attr >> 16  # 0 if the archive was made on Windows
        refused = ""
        if stat.S_ISLNK(mode):
            refused = "is a link"
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            refused = "is a device"
        elif info.flag_bits & 1:
            refused = "is encrypted"
        opener = partial(archive.open, info)
        yield Member(info.filename, info.file_size, info.is_dir(), refused, opener)


def _tar_members(archive: tarfile.TarFile) -> Iterator[Member]:
    for info in archive:
        refused = ""
        if info.issym() or info.islnk():
            refused = "is a link"
        elif not (info.isreg() or info.isdir()):
            refused = "is a device"
        # extractfile returns None for folders only, which are never opened.
        opener = cast(Callable[[], IO[bytes]], partial(archive.extractfile, info))
        yield Member(info.name, info.size, info.isdir(), refused, opener)


def _outside(name: str) -> str:
    """Return the reason why a name may be outside the folder on some system, or ""."""
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        return "has an absolute path"
    if "\\" in name:
        return "has a backslash in its path"
    if ".." in PurePosixPath(name).parts:
        return "climbs out of its folder"
    return ""


def _too_long(file: PurePosixPath) -> bool:
    """Whether the disk does not take a path, or `complete` cannot write the file beside it."""
    names = (*file.parts[:-1], str(temporary(Path(file.name))))
    long = any(len(os.fsencode(name)) > _NAME for name in names)
    return long or len(os.fsencode(file)) > _PATH


def _wanted(file: PurePosixPath, take: str) -> bool:
    hidden = any(part.startswith(".") or part in SYSTEM_FOLDERS for part in file.parts)
    return not hidden and fnmatchcase(file.as_posix().lower(), take.lower())


def _same(file: Path, other: Path) -> bool:
    return other.is_file() and filecmp.cmp(file, other, shallow=False)
