"""The folder of a corpus, its audio files, and the meaning of their names."""

import codecs
import csv
import io
import logging
import os
import re
import shlex
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import soundfile

from stages.running.entry import printable
from stages.sources.spelling import composed, is_utf8

log = logging.getLogger(__name__)

# libsndfile names its formats, not their suffixes; most suffixes are the name in lower case.
FURTHER_SUFFIXES = {
    "AIFF": ("aif", "aifc"),
    "AU": ("snd",),
    "NIST": ("sph",),
    "OGG": ("oga", "opus"),
}
# Speech of phones and browsers, which is decoded where ffmpeg is installed.
_PHONES = "3g2 3ga 3gp 3gpp aac ac3 adts amr ape asf awb dss f4a m4a m4b m4v mka mkv mov mp2 mp4"
_BROWSERS = "mpc mpga oga qt ra spx tta weba webm wma wmv wv"
FFMPEG_SUFFIXES = frozenset(f"{_PHONES} {_BROWSERS}".split())
# Headerless: libsndfile cannot open it without being told its rate and sample type.
NO_SUFFIXES = {"raw"}
# macOS leaves these folders in archives; its "._x.wav" files are skipped as hidden files.
SYSTEM_FOLDERS = {"__MACOSX"}
REMOTE = "remote://"
# In the order in which they are tried: commas win where several fit.
_DELIMITERS = (",", ";", "\t", "|")
# Reasons why the name of a file is not of its corpus.
_STRANGE = re.compile(r"name does not parse:|\w+ outside the scheme:")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def _audio_suffixes() -> frozenset[str]:
    formats = soundfile.available_formats()
    suffixes = {name.lower() for name in formats}
    suffixes.update(suffix for name in formats for suffix in FURTHER_SUFFIXES.get(name, ()))
    return frozenset(suffixes - NO_SUFFIXES) | FFMPEG_SUFFIXES


AUDIO_SUFFIXES = _audio_suffixes()


def audio_files(root: Path) -> list[str]:
    """List the files below a folder whose suffix libsndfile or ffmpeg reads.

    Hidden files and folders are skipped. Linked folders are skipped with a warning: DVC does not
    follow them, so a change behind such a link would go unnoticed. `root` itself may be a link.

    Parameters
    ----------
    root : Path
        folder of one corpus

    Returns
    -------
    list of str
        paths relative to root, with forward slashes, sorted

    Raises
    ------
    FileNotFoundError
        if root is not a folder
    PermissionError
        if a folder below root cannot be listed: its files would be missing unnoticed
    ValueError
        if there is no audio file below root; the message counts the other files by suffix
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    files = sorted(path.relative_to(root).as_posix() for path in _files(root))
    audio = [file for file in files if _suffix(file) in AUDIO_SUFFIXES]
    if not audio:
        counts = Counter(f".{_suffix(file)}" for file in files)
        found = ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items()))
        raise ValueError(
            f"{root}: no audio file below it, got {found or 'nothing'}, want .wav, .flac or similar"
        )
    return audio


def parse_names(
    root: Path, *, pattern: str, form: str, describe: Callable[[re.Match], dict]
) -> list[dict]:
    """Describe each audio file of a corpus by its name.

    Parameters
    ----------
    root : Path
        folder of one corpus
    pattern : str
        regular expression for the end of a relative path without its suffix. It starts at the
        beginning of a path component and may span several components.
    form : str
        what a valid name looks like, for the message about a name that does not match
    describe : callable
        turns a match into columns of the clip table, `clip` among them

    Returns
    -------
    list of dict
        one row per file, sorted by file; `file` is the relative path. The row of a name that does
        not match holds only `clip` (the path without suffix), `file` and `excluded` (the reason).

    Raises
    ------
    FileNotFoundError, PermissionError, ValueError
        see audio_files
    """
    ending = re.compile(rf"(?:^|/)(?:{pattern})$")
    rows = []
    for file in audio_files(root):
        name = file.removesuffix(PurePosixPath(file).suffix)
        match = ending.search(composed(name))
        if match:
            row = describe(match)
        else:
            row = {"clip": name, "excluded": f"name does not parse: got {name}, want {form}"}
        rows.append(row | {"file": file})
    return rows


def outside_scheme(codes: Mapping[str, str], scheme: Mapping[str, Collection[str]]) -> str:
    """Find a code in a name that its corpus does not define.

    Parameters
    ----------
    codes : mapping of str to str
        field to the code found in a name
    scheme : mapping of str to collection of str
        field to the codes that the corpus defines, in order; other fields are not checked

    Returns
    -------
    str
        the reason to exclude the clip, naming the first such field; "" if all codes are defined
    """
    for field, defined in scheme.items():
        if codes[field] not in defined:
            wanted = list(defined)
            listed = " ".join(wanted) if len(wanted) <= 12 else f"{wanted[0]} to {wanted[-1]}"
            return f"{field} outside the scheme: got {codes[field]}, want {listed}"
    return ""


def read_table(path: Path, *, columns: Collection[str]) -> list[tuple[int, dict[str, str]]]:
    """Read a CSV file with a header.

    Cells are separated by commas, semicolons, tabs or bars, whichever gives the required columns.
    The text is UTF-8, UTF-16, or else Windows-1252, which is logged because it is a guess.

    Parameters
    ----------
    path : Path
    columns : collection of str
        required columns; the table may have others

    Returns
    -------
    list of (int, dict)
        line number in the file, for messages, and cell by column, stripped of blanks; empty lines
        are skipped

    Raises
    ------
    FileNotFoundError
        if the file does not exist
    ValueError
        if it is not such a table, with the line where reading failed
    """
    try:
        text = _decoded(path.read_bytes(), path=path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such table") from error
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    wanted = [composed(column) for column in columns]
    lines = io.StringIO(text, newline="")
    first = next((line for line in lines if line.strip()), "")
    lines.seek(0)
    reader = csv.reader(lines, strict=True, delimiter=_delimiter(first, wanted))
    try:
        records = [
            (reader.line_num, [composed(cell.strip()) for cell in record]) for record in reader
        ]
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}, want CSV") from error
    records = [(line, record) for line, record in records if record]
    header = records[0][1] if records else []
    if wrong := [column for column in wanted if header.count(column) != 1]:
        raise ValueError(
            f"{path}: got the columns {', '.join(header) or 'nothing'}, want {', '.join(wanted)}, "
            f"each once; missing or repeated: {', '.join(wrong)}"
        )
    for line, record in records[1:]:
        if len(record) != len(header):
            raise ValueError(
                f"{path}, line {line}: got {len(record)} cells, want {len(header)} as in the header"
            )
    return [(line, dict(zip(header, record, strict=True))) for line, record in records[1:]]


def find_file(root: Path, name: str) -> Path:
    """Find a file below a folder, in whichever Unicode form the disk spells its path.

    Returns
    -------
    Path
        it may not exist
    """
    path = root
    for part in PurePosixPath(name).parts:
        if not (path / part).exists() and path.is_dir():
            alike = [entry for entry in os.listdir(path) if composed(entry) == composed(part)]
            part = alike[0] if alike else part
        path = path / part
    return path


def warn_of_letters(*, repository: Path, corpora: Path) -> None:
    """Log what DVC cannot do below a folder whose name has letters beyond ASCII."""
    if not str(repository).isascii():
        log.warning(
            "%s: got letters beyond ASCII, with which `dvc exp run --temp` and `--queue` fail; to "
            "use them, clone the repository into another folder",
            repository,
        )
    elif not str(corpora).isascii():
        log.warning(
            "%s: got letters beyond ASCII, with which `dvc exp run --temp` and `--queue` fail; to "
            "use them, point the alias to a link: ln -s %s LINK; dvc remote modify --local corpora "
            "url LINK",
            corpora,
            shlex.quote(str(corpora)),
        )


def unreadable_entries(corpora: Iterable[str], *, root: str) -> list[str]:
    """Describe each entry of some corpora at which DVC stops or waits for ever.

    Parameters
    ----------
    corpora : iterable of str
        names, each of a folder below root
    root : str
        the folder of all corpora, or `remote://` and an alias

    Returns
    -------
    list of str
        a line for each entry, with what to do, and a last line that says why; or nothing
    """
    lines = [
        f"{printable(str(folder))}/{entry}: {reason}"
        for folder in (locate(f"{root}/{name}") for name in corpora)
        for entry, reason in odd_entries(folder).items()
    ]
    why = "DVC reads whole folders and stops at such entries, even where no stage uses them"
    return [*lines, why] if lines else []


def odd_entries(root: Path) -> dict[str, str]:
    """Find the entries below a folder at which DVC stops or waits for ever, hidden ones included.

    Parameters
    ----------
    root : Path
        folder of one corpus

    Returns
    -------
    dict
        by relative path, in print: what is wrong with the entry and what to do, in order
    """
    found: dict[str, str] = {}
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    path = Path(entry.path)
                    if reason := _oddity(entry):
                        found[printable(path.relative_to(root).as_posix())] = reason
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(path)
        except OSError as error:
            name = printable(folder.relative_to(root).as_posix())
            found[name] = f"cannot be listed: {error.strerror}; make it readable"
    return dict(sorted(found.items()))


def refuse_other(
    root: Path,
    *,
    strange: Sequence[str],
    total: int,
    max_fraction: float,
    corpus: str,
    other: str,
) -> None:
    """Refuse a folder that holds another corpus, which the reader would mislabel or not recognise.

    Parameters
    ----------
    root : Path
        folder of the corpus
    strange : sequence of str
        one entry for each file that points to the other corpus
    total : int
        number of files examined
    max_fraction : float
        tolerated fraction of strange files; these are strays, excluded one by one
    corpus, other : str
        the corpus expected; the one that the folder resembles, with advice

    Raises
    ------
    ValueError
        if more files are strange
    """
    if len(strange) > max_fraction * total:
        raise ValueError(
            f"{root}: {len(strange)} of {total} file names do not belong to {corpus}, want at most "
            f"{max_fraction:.0%}; {strange[0]}. This looks like {other}"
        )


def refuse_strangers(root: Path, rows: Sequence[Mapping[str, Any]], *, corpus: str) -> None:
    """Refuse a folder in which most names are not of its corpus, though some happen to parse.

    Parameters
    ----------
    root : Path
        folder of the corpus
    rows : sequence of mapping
        what the reader says of each file; see parse_names and outside_scheme
    corpus : str
        its name

    Raises
    ------
    ValueError
        if more than half of the names do not parse or have codes outside the scheme
    """
    reasons = {row["file"]: row.get("excluded", "") for row in rows}
    refuse_other(
        root,
        strange=[f"{file}: {why}" for file, why in reasons.items() if _STRANGE.match(why)],
        total=len(reasons),
        max_fraction=1 / 2,
        corpus=corpus,
        other="another corpus, which needs a folder of its own",
    )


def locate(root: str) -> Path:
    """Resolve a path or a `remote://` address to a folder on this machine.

    Parameters
    ----------
    root : str
        `remote://<remote>/<folder>` is looked up in the DVC configuration of the repository
        around the working directory; anything else is a path

    Returns
    -------
    Path
        it may not exist

    Raises
    ------
    ValueError
        if the repository has no such remote, or if the remote is not a folder
    """
    if not root.startswith(REMOTE):
        return Path(root)
    from dvc.config import Config  # slow to import, and few callers need it

    name, _, folder = root.removeprefix(REMOTE).partition("/")
    # DVC resolves a relative url against the .dvc folder, and gives the absolute path.
    url = Config.from_cwd()["remote"].get(name, {}).get("url", "")
    if not url or "://" in url:
        raise ValueError(
            f"{root}: got {url or 'nothing'} as DVC remote {name}, want a folder; set it with: "
            f"dvc remote modify --local {name} url /absolute/path"
        )
    return Path(url) / folder


def _files(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as found:
            entries = list(found)
    except PermissionError as error:
        reason = f"{error.strerror}, want permission to list it"
        raise PermissionError(error.errno, reason, str(folder)) from error
    for entry in entries:
        if entry.name.startswith(".") or entry.name in SYSTEM_FOLDERS:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _files(folder / entry.name)
        elif entry.is_symlink() and os.path.isdir(entry.path):
            log.warning("%s: linked folder skipped, because DVC does not follow it", entry.path)
        else:
            yield folder / entry.name


def _oddity(entry: os.DirEntry) -> str:
    """Return why an entry cannot be read, and what to do, or ""."""
    if not is_utf8(entry.name):
        return "its name is not UTF-8; rename it"
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        if not entry.is_symlink():
            return f"cannot be read: {error.strerror}"
        return (
            f"a link that leads nowhere ({error.strerror}); fetch the file that it stands for, "
            "such as by datalad get or git annex get, or move the link out of the corpus"
        )
    if stat.S_ISDIR(mode):
        return ""
    if not stat.S_ISREG(mode):
        return "neither a file nor a folder, but a pipe, a socket or a device; move it elsewhere"
    return "" if os.access(entry.path, os.R_OK) else "cannot be read: permission denied"


def _decoded(content: bytes, *, path: Path) -> str:
    """Decode the text of a table."""
    encoding = "utf-16" if content.startswith(_UTF16) else "utf-8-sig"
    if content[1:2] == b"\0" or content[:1] == b"\0":  # half of the bytes of English in UTF-16
        encoding = "utf-16-le" if content[1:2] == b"\0" else "utf-16-be"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig" or b"\0" in content:
            raise ValueError(
                f"{path}: got bytes that are no text, want a CSV file in UTF-8"
            ) from error
    log.warning(
        "%s: got bytes that are not UTF-8, read as Windows-1252; save the table as UTF-8 if names "
        "look wrong",
        path,
    )
    return content.decode("cp1252", errors="replace")


def _delimiter(header: str, columns: Collection[str]) -> str:
    """Return the first delimiter that gives the required columns, or else the most columns."""
    found = {}
    for delimiter in _DELIMITERS:
        cells = [cell.strip() for cell in next(csv.reader([header], delimiter=delimiter), [])]
        found[delimiter] = (set(columns) <= set(cells), len(cells))
    return max(found, key=lambda delimiter: found[delimiter])


def _suffix(file: str) -> str:
    return PurePosixPath(file).suffix.lower().removeprefix(".")
