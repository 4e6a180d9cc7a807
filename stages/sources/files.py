"""Where a corpus lies, which audio files it holds, and what their names say."""

import csv
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import soundfile

log = logging.getLogger(__name__)

# libsndfile names its formats, not their suffixes; most suffixes are the name in small letters.
FURTHER_SUFFIXES = {
    "AIFF": ("aif", "aifc"),
    "AU": ("snd",),
    "NIST": ("sph",),
    "OGG": ("oga", "opus"),
}
# Headerless: without its rate and sample type from elsewhere, libsndfile cannot open it.
NO_SUFFIXES = {"raw"}
# What macOS leaves behind in archives; its "._x.wav" are caught as hidden files.
SYSTEM_FOLDERS = {"__MACOSX"}
REMOTE = "remote://"


def _audio_suffixes() -> frozenset[str]:
    formats = soundfile.available_formats()
    suffixes = {name.lower() for name in formats}
    suffixes.update(more for name in formats for more in FURTHER_SUFFIXES.get(name, ()))
    return frozenset(suffixes - NO_SUFFIXES)


AUDIO_SUFFIXES = _audio_suffixes()


def audio_files(root: Path) -> list[str]:
    """All files below a folder whose suffix libsndfile reads.

    Hidden files and folders are passed over, and so, with a warning, are linked folders: DVC does
    not look into them, so a change behind such a link would go unnoticed. `root` may be a link.

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
        naming a folder below it that may not be listed: what it holds would be missing unnoticed
    ValueError
        if no audio file lies below it; says what lies there instead
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    files = sorted(path.relative_to(root).as_posix() for path in _files(root))
    audio = [file for file in files if _suffix(file) in AUDIO_SUFFIXES]
    if not audio:
        counts = Counter(f".{_suffix(file)}" for file in files)
        found = ", ".join(f"{n} {suffix}" for suffix, n in sorted(counts.items())) or "nothing"
        raise ValueError(f"{root}: no audio file below it, got {found}, want .wav, .flac or alike")
    return audio


def parse_names(
    root: Path, *, pattern: str, form: str, describe: Callable[[re.Match], dict]
) -> list[dict]:
    """One row per audio file, filled from its name.

    Parameters
    ----------
    root : Path
        folder of one corpus
    pattern : str
        regular expression for the end of a relative path without its suffix; it begins at the
        start of a path component, and may span several of them
    form : str
        how a right name looks, for the reason given to a file whose name does not match
    describe : callable
        turns a match into columns of the clip table, `clip` among them

    Returns
    -------
    list of dict
        sorted by file; `file` is the relative path. A name that does not match keeps a row of
        `clip` (the path without suffix), `file` and `excluded` (the reason).

    Raises
    ------
    FileNotFoundError, ValueError
        see audio_files
    """
    ending = re.compile(rf"(?:^|/)(?:{pattern})$")
    rows = []
    for file in audio_files(root):
        name = file.removesuffix(PurePosixPath(file).suffix)
        match = ending.search(name)
        if match:
            row = describe(match)
        else:
            row = {"clip": name, "excluded": f"name does not parse: got {name}, want {form}"}
        rows.append(row | {"file": file})
    return rows


def outside_scheme(codes: Mapping[str, str], scheme: Mapping[str, Collection[str]]) -> str:
    """Why the codes of a name cannot be trusted.

    Parameters
    ----------
    codes : mapping of str to str
        field to the code found in a name
    scheme : mapping of str to collection of str
        field to the codes that the corpus defines, in order; fields that it leaves out are free

    Returns
    -------
    str
        the first field whose code is not defined, what it got and what was wanted, or ""
    """
    for field, defined in scheme.items():
        if codes[field] not in defined:
            wanted = list(defined)
            listed = " ".join(wanted) if len(wanted) <= 12 else f"{wanted[0]} to {wanted[-1]}"
            return f"{field} outside the scheme: got {codes[field]}, want {listed}"
    return ""


def read_table(path: Path, *, columns: Collection[str]) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with a header: UTF-8, commas between the cells.

    Parameters
    ----------
    path : Path
    columns : collection of str
        those that must be there; others may be

    Returns
    -------
    list of (line, row)
        line in the file, for messages; cell by column, without blanks around it. Empty lines are
        passed over.

    Raises
    ------
    FileNotFoundError
        if there is no such file
    ValueError
        naming what is not readable as such a table, and where
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.reader(lines, strict=True)
            records = [(reader.line_num, [cell.strip() for cell in record]) for record in reader]
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such table") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: got other bytes than UTF-8, want a CSV file in UTF-8") from error
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}, want CSV") from error
    records = [(line, record) for line, record in records if record]
    header = records[0][1] if records else []
    if missing := [column for column in columns if header.count(column) != 1]:
        raise ValueError(
            f"{path}: got the columns {', '.join(header) or 'nothing'}; want {', '.join(columns)}, "
            f"each once: {', '.join(missing)} is not"
        )
    for line, record in records[1:]:
        if len(record) != len(header):
            raise ValueError(
                f"{path}, line {line}: got {len(record)} cells, want {len(header)} as in the header"
            )
    return [(line, dict(zip(header, record, strict=True))) for line, record in records[1:]]


def refuse_other(
    root: Path, *, strange: Sequence[str], total: int, share: float, corpus: str, other: str
) -> None:
    """Refuse a folder that holds another corpus: a reader would mislabel it, or find nothing.

    Parameters
    ----------
    root : Path
        folder of the corpus
    strange : sequence of str
        one entry for each file that speaks for the other corpus
    total : int
        files among which they were found
    share : float
        of the files that may be strange: strays, which are excluded one by one
    corpus, other : str
        which corpus was wanted; which one this looks like, and what to do about it

    Raises
    ------
    ValueError
        if more of them are strange
    """
    if len(strange) > share * total:
        raise ValueError(
            f"{root}: {len(strange)} of {total} names are none of {corpus}'s, want at most "
            f"{share:.0%}; {strange[0]}. This looks like {other}"
        )


def locate(root: str) -> Path:
    """The folder that a path or a `remote://` address means on this machine.

    Parameters
    ----------
    root : str
        `remote://<remote>/<folder>` is looked up in the DVC configuration of the repository
        around the working directory; anything else is a path as it stands

    Returns
    -------
    Path
        whether it exists is not checked

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
        reason = f"{error.strerror}, want leave to list it"
        raise PermissionError(error.errno, reason, str(folder)) from error
    for entry in entries:
        if entry.name.startswith(".") or entry.name in SYSTEM_FOLDERS:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _files(folder / entry.name)
        elif entry.is_dir():
            log.warning("%s: linked folder passed over, DVC does not look into it", entry.path)
        else:
            yield folder / entry.name


def _suffix(file: str) -> str:
    return PurePosixPath(file).suffix.lower().removeprefix(".")
