"""Your own recordings, listed in a table: a line per file or excerpt, its emotion and its speaker.

stages/sources/vocabulary.py lists the known words for emotions; the setting `emotions` adds others.
"""

import logging
import math
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from stages.sources.files import audio_files, find_file, read_table
from stages.sources.spelling import composed, identity, settle_spellings
from stages.sources.vocabulary import (
    UNKNOWN_SPEAKER,
    age_of,
    emotion_of,
    emotion_words,
    most_common,
    sex_of,
)

log = logging.getLogger(__name__)

HOW_TO_GET = """\
table: your own recordings, listed in a CSV file, table/clips.csv
The columns file and emotion are required, speaker is recommended; see data/raw/README.md."""

REQUIRED = ("file", "emotion")
TIMES = ("start", "end")
COLUMNS = (*REQUIRED, "speaker", "sex", "age", "language", "sentence", "fold", *TIMES)
# 2.5, 2,5, 1e-05, 1:02.5, 0:01:02,5 and 0 days 00:01:02.5
_TIME = re.compile(
    r"(?:(?P<days>\d+) days?,? +)?(?:(?:(?P<h>\d+):)?(?P<min>\d+):)?"
    r"(?P<s>\d+(?:[.,]\d*)?(?:[eE][+-]?\d+)?)"
)


def read(
    root: Path,
    *,
    table: str,
    columns: Mapping[str, str],
    emotions: Mapping[str, str],
    spellings: Literal["refuse", "merge"],
) -> list[dict]:
    """Describe each line of the table, and each audio file that the table does not list.

    A path in the table is below root, or absolute. Case, Unicode form and back-slashes in it need
    not be those of the file on disk, unless two files differ in nothing else.

    Parameters
    ----------
    root : Path
        folder of the corpus
    table : str
        path of the CSV file, below root
    columns : mapping of str to str
        name in COLUMNS to the header that the table has instead. Other columns of the table are
        ignored.
    emotions : mapping of str to str
        word in the column emotion to emotion of the common vocabulary, for words that are not known
    spellings : refuse or merge
        what to do with several spellings of one speaker or sentence, see settle_spellings

    Returns
    -------
    list of dict
        columns of the clip table; `clip` is the path without its suffix. A line with start and end
        is an excerpt, whose `times` are in seconds. A file is excluded if it does not exist, is
        outside root, has an unknown emotion or no speaker, has unclear times, or is not listed. If
        a file or an excerpt is listed twice, the second line is excluded, or both if they disagree.
        Without a column for speakers all files have one speaker, `unknown`, because a
        split that holds speakers out must keep unknown speakers on one side.

    Raises
    ------
    FileNotFoundError
        if root is not a folder or the table does not exist
    ValueError
        if there is no audio file below root; if the table is outside root, is not a table or lacks
        a column, or one of start and end where the other holds times; if no line names a known
        emotion; if a speaker or sentence is spelled in several ways; if a setting is wrong
    """
    files = audio_files(root)
    if _climbs(PurePosixPath(table)):
        raise ValueError(f"table: got {table}, want a file below {root}")
    if unknown := [column for column in columns if column not in COLUMNS]:
        raise ValueError(f"columns: got {', '.join(unknown)}, want {', '.join(COLUMNS)}")
    headers = {column: composed(columns.get(column, column)) for column in COLUMNS}
    required = [headers[column] for column in COLUMNS if column in REQUIRED or column in columns]
    words = emotion_words(emotions)
    path = find_file(root, table)
    lines = {
        number: {column: cells[headers[column]] for column in COLUMNS if headers[column] in cells}
        for number, cells in read_table(path, columns=required)
    }
    _warn(path, list(lines.values()))
    _check_words(path, list(lines.values()), words=words)
    timed = _timed(path, list(lines.values()), headers=headers, wanted=columns)
    alike = defaultdict(list)
    for file in files:
        alike[identity(file)].append(file)
    described = [
        _describe(cells, number=number, root=root, alike=alike, words=words, timed=timed)
        for number, cells in lines.items()
    ]
    described = settle_spellings(described, corpus=path, spellings=spellings)
    rows = dict(zip(lines, described, strict=True))
    _settle_repeated(rows)
    unlisted = [
        {"clip": _stem(file), "file": file, "excluded": f"not listed: want a line in {table}"}
        for file in sorted(set(files) - {row["file"] for row in rows.values()})
    ]
    return [*rows.values(), *unlisted]


def _climbs(path: PurePosixPath) -> bool:
    return path.is_absolute() or ".." in path.parts or path.parts[0][1:] == ":"


def _stem(file: str) -> str:
    return file.removesuffix(PurePosixPath(file).suffix)


def _warn(table: Path, lines: list[dict[str, str]]) -> None:
    """Warn about speakers, sexes and ages that count as unknown."""
    if not any("speaker" in cells for cells in lines):
        log.warning(
            "%s: no column speaker, so all files count as one speaker, %s, and are on one side of "
            "every split",
            table,
            UNKNOWN_SPEAKER,
        )
    for column, parse in (("sex", sex_of), ("age", age_of)):
        cells = [line[column] for line in lines if line.get(column)]
        if strange := [cell for cell in cells if not parse(cell)]:
            log.warning("%s: %s: %r and similar cells count as unknown", table, column, strange[0])


def _check_words(table: Path, lines: list[dict[str, str]], *, words: Mapping[str, str]) -> None:
    """Refuse a table of which no line names a known emotion."""
    found = [cells["emotion"] for cells in lines]
    if found and all(emotion_of(word, words)[1] for word in found):
        raise ValueError(
            f"{table}: no line names a known emotion: got {most_common(found)}, want words such as "
            "angry or sad, or an entry for each word in the setting emotions"
        )


def _describe(
    cells: dict[str, str],
    *,
    number: int,
    root: Path,
    alike: Mapping[str, Sequence[str]],
    words: Mapping[str, str],
    timed: bool,
) -> dict:
    if not cells["file"]:
        reason = f"no file: got nothing in line {number}, want a path"
        return {"clip": f"line {number}", "file": "", "excluded": reason}
    file, reason = _locate(cells["file"], root=root, alike=alike)
    times, unclear = _times(cells) if timed else (None, "")
    row: dict[str, Any] = {"clip": _stem(file), "file": file}
    if times:
        row["times"] = times
    if reason := reason or unclear:
        return row | {"excluded": reason}
    emotion, reason = emotion_of(cells["emotion"], words)
    speaker = cells.get("speaker", UNKNOWN_SPEAKER)
    if not reason and not speaker:
        reason = f"speaker unknown: got nothing in line {number}, want a name"
    return row | {
        "speaker": speaker,
        "sex": sex_of(cells.get("sex", "")),
        "age": age_of(cells.get("age", "")),
        "language": cells.get("language", "").lower(),
        "emotion": emotion,
        "sentence": cells.get("sentence", ""),
        "corpus_fold": cells.get("fold", ""),
        "excluded": reason,
    }


def _locate(cell: str, *, root: Path, alike: Mapping[str, Sequence[str]]) -> tuple[str, str]:
    """Find the file that a cell names: its path below root and ""; or the cell and the reason."""
    path = PurePosixPath(cell.replace("\\", "/"))
    for folder in (root.absolute(), root.resolve()):
        if path.is_absolute() and path.is_relative_to(folder):
            path = path.relative_to(folder)
    found = alike.get(identity(cell), []) or alike.get(identity(str(path)), [])
    for spelling in (cell, str(path)):
        if spelling in found:
            return spelling, ""
    if len(found) == 1:
        return found[0], ""
    if found:
        return str(path), f"unclear file: got {path}, want one of {', '.join(found)}"
    if _climbs(path):
        return str(path), f"outside the folder: got {path}, want a path inside it"
    return str(path), f"no such file: got {path}, want an audio file in the folder"


def _timed(
    table: Path,
    lines: list[dict[str, str]],
    *,
    headers: Mapping[str, str],
    wanted: Collection[str],
) -> bool:
    """Whether the lines are excerpts; the columns start and end may have another meaning."""
    found = {column: [line[column] for line in lines if column in line] for column in TIMES}
    if not any(_seconds(cell) for cells in found.values() for cell in cells):
        return any(column in wanted for column in TIMES)
    for column, other in (TIMES, TIMES[::-1]):
        if lines and not found[column]:
            raise ValueError(
                f"{table}: got times in the column {headers[other]} but no column "
                f"{headers[column]}, want both; if lines are whole files, give {headers[other]} "
                "another name"
            )
    return True


def _times(cells: Mapping[str, str]) -> tuple[tuple[float, float] | None, str]:
    """Return start and end of an excerpt in seconds, None for the whole file; or None and why."""
    start, end = (cells.get(column, "") for column in TIMES)
    first, last = _seconds(start), _seconds(end)
    if not end and (not start or first == 0):
        return None, ""
    got = f"got start {start or 'empty'} and end {end or 'empty'}"
    if first is None or last is None:
        return None, f"times unclear: {got}, want seconds in both, or whole files without times"
    if last <= first:
        return None, f"times in disorder: {got}, want an end after the start"
    return (first, last), ""


def _seconds(cell: str) -> float | None:
    """Read a time, to the microsecond; None if it is none."""
    time = _TIME.fullmatch(cell)
    if time is None:
        return None
    days, hours, minutes = (int(time[unit] or 0) for unit in ("days", "h", "min"))
    seconds = float(time["s"].replace(",", "."))
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    return round(total, 6) if math.isfinite(total) else None


def _settle_repeated(rows: dict[int, dict]) -> None:
    """Exclude lines that repeat others, and make the names of clips unique."""
    same_name = defaultdict(list)
    for number, row in rows.items():
        same_name[row["clip"], row.get("times")].append(number)
    for numbers in same_name.values():
        labels = {number: _label(rows[number]) for number in numbers}
        conflict = len(set(labels.values())) > 1
        seen: dict[str, int] = {}
        for number in numbers:
            row = rows[number]
            first = seen.setdefault(row["file"], number)
            reason = ""
            if conflict:
                others = (f"line {n} ({label})" for n, label in labels.items() if n != number)
                reason = f"listed under another label: {', '.join(others)}"
            elif first != number:
                reason = f"listed twice: already in line {first}"
            if first != number:
                row["clip"] += f" (line {number})"
            row["excluded"] = row.get("excluded") or reason


def _label(row: dict) -> str:
    return f"{row.get('emotion') or 'no emotion'} by {row.get('speaker') or 'an unknown speaker'}"
