"""Archives unpacked, and what they hold put in its place: nothing outside, nothing overwritten."""

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from stages.running.outputs import complete
from stages.running.resources import check_disk
from stages.sources.files import SYSTEM_FOLDERS

_PIECE = 1 << 20  # bytes
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
    """An archive that cannot be read, so that another download may help."""


class Member(NamedTuple):
    """name, size: as the archive says, in bytes; refused: why it is, or ""."""

    name: str
    size: int
    folder: bool
    refused: str
    open: Callable[[], IO[bytes]]


def unpack(path: Path, *, take: str, folder: Path) -> None:
    """Unpack an archive, once all of its members have been checked.

    Parameters
    ----------
    path : Path
        zip, or tar in any compression
    take : str
        which members to take, in small or capital letters; `*` stands for folders as well. Hidden
        files and those of macOS's own are left.
    folder : Path
        where to, keeping the archive's own folders; made if need be

    Raises
    ------
    BrokenArchive
        if it cannot be read to its end, or if a member's checksum is wrong
    ValueError
        naming the member, if one would land outside of the folder, is a link, a device or
        encrypted, or occurs twice; if they do not fit on the disk; if there is none to take
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _opened(path) as archive:
        for file, member in _checked(archive, path=path, take=take, folder=folder).items():
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as source, target.open("xb") as out:
                shutil.copyfileobj(source, out, _PIECE)


def place(source: Path, *, target: Path) -> tuple[int, int]:
    """Move all files of a folder to another one, where they overwrite nothing.

    Parameters
    ----------
    source, target : Path
        folders; target is made if need be

    Returns
    -------
    (int, int)
        files that were moved, and files that were in target already, byte for byte

    Raises
    ------
    ValueError
        if target holds something else under the name of a file; then nothing has been moved
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
            f"{min(others)}{more}: is there already with other content; nothing was changed. "
            "Put it elsewhere, or fetch --to another folder"
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
            raise BrokenArchive(f"{path.name}: no whole zip or tar, it begins with {beginning}")
    except _UNREADABLE as error:
        raise BrokenArchive(f"{path.name}: cannot be read: {error}") from error


def _checked(
    archive: zipfile.ZipFile | tarfile.TarFile, *, path: Path, take: str, folder: Path
) -> dict[PurePosixPath, Member]:
    """The members to take, by where they go; all others are checked as well."""
    taken, files, size = {}, set(), 0
    for member in _members(archive):
        file = PurePosixPath(member.name)
        refused = member.refused or _outside(member.name)
        if not refused and not member.folder and file in files:
            refused = "occurs twice"
        if refused:
            raise ValueError(f"{path.name}: member {member.name!r} {refused}; nothing was unpacked")
        if member.folder:
            continue
        files.add(file)
        if _wanted(file, take):
            taken[file] = member
            size += member.size
            check_disk(f"{path.name}: what it holds", need=size, folder=folder)
    _read_to_the_end(archive)
    if not taken:
        raise ValueError(f"{path.name}: got {len(files)} files, want some like {take}")
    for file in taken:
        for parent in file.parents:
            if parent in files:
                raise ValueError(
                    f"{path.name}: member {str(parent)!r} is a file and a folder; "
                    "nothing was unpacked"
                )
    return taken


def _read_to_the_end(archive: zipfile.ZipFile | tarfile.TarFile) -> None:
    """Have all checksums looked at: of each member of a zip, and at the end of a compressed tar."""
    if isinstance(archive, zipfile.ZipFile):
        if spoilt := archive.testzip():
            raise zipfile.BadZipFile(f"member {spoilt!r} is damaged")
    else:
        while archive.fileobj.read(_PIECE):
            pass


def _members(archive: zipfile.ZipFile | tarfile.TarFile) -> Iterator[Member]:
    if isinstance(archive, zipfile.ZipFile):
        for info in archive.infolist():
            mode = info.external_attr >> 16  # 0 where the archive was made on Windows
            refused = ""
            if stat.S_ISLNK(mode):
                refused = "is a link"
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                refused = "is a device"
            elif info.flag_bits & 1:
                refused = "is encrypted"
            opener = partial(archive.open, info)
            yield Member(info.filename, info.file_size, info.is_dir(), refused, opener)
    else:
        for info in archive:
            refused = ""
            if info.issym() or info.islnk():
                refused = "is a link"
            elif not (info.isreg() or info.isdir()):
                refused = "is a device"
            opener = partial(archive.extractfile, info)
            yield Member(info.name, info.size, info.isdir(), refused, opener)


def _outside(name: str) -> str:
    """Why a member's name is not that of a file below the folder, on any system, or ""."""
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        return "has an absolute path"
    if "\\" in name:
        return "has a backslash in its path"
    if ".." in PurePosixPath(name).parts:
        return "climbs out of its folder"
    return ""


def _wanted(file: PurePosixPath, take: str) -> bool:
    own = any(part.startswith(".") or part in SYSTEM_FOLDERS for part in file.parts)
    return not own and fnmatchcase(file.as_posix().lower(), take.lower())


def _same(file: Path, other: Path) -> bool:
    return other.is_file() and filecmp.cmp(file, other, shallow=False)
