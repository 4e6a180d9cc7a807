"""Your own recordings, listed in a table: one line per file, with its emotion and who speaks.

Words that are understood as emotions stand in stages/sources/vocabulary.py; the setting `emotions`
adds others.
"""

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from stages.sources.files import audio_files, read_table
from stages.sources.vocabulary import UNKNOWN_SPEAKER, age_of, emotion_of, emotion_words, sex_of

log = logging.getLogger(__name__)

HOW_TO_GET = """\
table: your own recordings and a CSV file about them, table/clips.csv
It has the columns file and emotion, and best also speaker; see data/raw/README.md."""

NEEDED = ("file", "emotion")
COLUMNS = (*NEEDED, "speaker", "sex", "age", "language", "sentence")


def read(
    root: Path, *, table: str, columns: Mapping[str, str], emotions: Mapping[str, str]
) -> list[dict]:
    """One row per line of the table, and one per audio file that it leaves out.

    Parameters
    ----------
    root : Path
        folder of the corpus
    table : str
        the CSV file, below root
    columns : mapping
        of COLUMNS to the table's own header, where it is another one. Further columns of the table
        are not read.
    emotions : mapping
        word in the column emotion to emotion of the common vocabulary, for words not understood
        otherwise

    Returns
    -------
    list of dict
        columns of the clip table; `clip` is the path without its suffix. Excluded are files that
        are not there, lie outside root or have an unknown emotion or no speaker; of a file listed
        twice the second line, or both if they disagree; and files that are not listed. Without a
        column of speakers all files are by one, `unknown`: speakers are held out, so what is
        unknown must stand on one side of a split.

    Raises
    ------
    FileNotFoundError
        if root is not a folder or the table is not there
    ValueError
        if no audio file lies below root; if the table lies elsewhere, is no table or lacks a
        column; naming a setting that is wrong
    """
    files = set(audio_files(root))
    if _climbs(PurePosixPath(table)):
        raise ValueError(f"table: got {table}, want a file below {root}")
    if unknown := [column for column in columns if column not in COLUMNS]:
        raise ValueError(f"columns: got {', '.join(unknown)}, want {', '.join(COLUMNS)}")
    own = {column: columns.get(column, column) for column in COLUMNS}
    needed = [own[column] for column in COLUMNS if column in NEEDED or column in columns]
    words = emotion_words(emotions)
    lines = {
        number: {column: cells[own[column]] for column in COLUMNS if own[column] in cells}
        for number, cells in read_table(root / table, columns=needed)
    }
    _warn(root / table, list(lines.values()))
    rows = {
        number: _describe(cells, number=number, files=files, words=words)
        for number, cells in lines.items()
    }
    _settle_repeated(rows)
    unlisted = [
        {"clip": _stem(file), "file": file, "excluded": f"not listed: want a line in {table}"}
        for file in sorted(files - {row["file"] for row in rows.values()})
    ]
    return [*rows.values(), *unlisted]


def _climbs(path: PurePosixPath) -> bool:
    return path.is_absolute() or ".." in path.parts


def _stem(file: str) -> str:
    return file.removesuffix(PurePosixPath(file).suffix)


def _warn(table: Path, lines: list[dict[str, str]]) -> None:
    """Say what of the table counts as unknown."""
    if not any("speaker" in cells for cells in lines):
        log.warning(
            "%s: no column says who speaks, so all files count as one speaker, %s, and stand on "
            "one side of every split",
            table,
            UNKNOWN_SPEAKER,
        )
    for column, understood in (("sex", sex_of), ("age", age_of)):
        cells = [line[column] for line in lines if line.get(column)]
        if strange := [cell for cell in cells if not understood(cell)]:
            log.warning("%s: %s: %r and alike count as unknown", table, column, strange[0])


def _describe(
    cells: dict[str, str], *, number: int, files: Collection[str], words: Mapping[str, str]
) -> dict:
    if not cells["file"]:
        reason = f"no file: got nothing in line {number}"
        return {"clip": f"line {number}", "file": "", "excluded": reason}
    path = PurePosixPath(cells["file"].replace("\\", "/"))
    file = str(path)
    row = {"clip": _stem(file), "file": file}
    if _climbs(path):
        return row | {"excluded": f"outside the folder: got {file}, want a path below it"}
    if file not in files:
        return row | {"excluded": f"not there: got {file}, want an audio file below the folder"}
    emotion, reason = emotion_of(cells["emotion"], words)
    speaker = cells.get("speaker", UNKNOWN_SPEAKER)
    if not reason and not speaker:
        reason = f"speaker unknown: got nothing in line {number}"
    return row | {
        "speaker": speaker,
        "sex": sex_of(cells.get("sex", "")),
        "age": age_of(cells.get("age", "")),
        "language": cells.get("language", "").lower(),
        "emotion": emotion,
        "sentence": cells.get("sentence", ""),
        "excluded": reason,
    }


def _settle_repeated(rows: dict[int, dict]) -> None:
    """Exclude lines that repeat others, and give each row a name of its own."""
    alike = defaultdict(list)
    for number, row in rows.items():
        alike[row["clip"]].append(number)
    for numbers in alike.values():
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
                reason = f"listed twice: line {first} as well"
            if first != number:
                row["clip"] += f" (line {number})"
            row["excluded"] = row.get("excluded") or reason


def _label(row: dict) -> str:
    return f"{row.get('emotion') or 'no emotion'} by {row.get('speaker') or 'nobody'}"
