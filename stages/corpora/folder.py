"""Your own recordings, one folder per emotion.

Each folder directly below a root is named after an emotion: `anna/angry/take1.wav` for the root
`anna`. stages/sources/vocabulary.py lists the known words; the setting `emotions` adds others.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from stages.sources.files import audio_files
from stages.sources.spelling import composed, settle_spellings
from stages.sources.vocabulary import (
    UNKNOWN_SPEAKER,
    emotion_of,
    emotion_words,
    most_common,
    plain,
    sex_of,
)

log = logging.getLogger(__name__)

HOW_TO_GET = """\
folder: your own recordings, one folder per emotion, folder/angry/take1.wav
Set in conf/corpora/folder.yaml where these folders are and who speaks; see data/raw/README.md."""


def read(
    root: Path,
    *,
    roots: Sequence[str],
    emotions: Mapping[str, str],
    speaker: str | None,
    language: str | None,
    sex: str | None,
    spellings: Literal["refuse", "merge"],
) -> list[dict]:
    """Describe each audio file of the corpus.

    Where the root is the folder of the corpus, no folder in it names an emotion, and the folders of
    one other depth do, those are read, with a warning.

    Parameters
    ----------
    root : Path
        folder of the corpus
    roots : sequence of str
        folders below it that hold the folders of emotions; "." is the folder of the corpus itself,
        and * matches any characters in the name of a folder; no other character is special
    emotions : mapping of str to str
        folder name to emotion of the common vocabulary, for names that are not known words
    speaker : str or None
        regular expression with a group `speaker`, searched in the path of each file below the
        folder of the corpus. None: all files have one speaker, `unknown`, because a split that
        holds speakers out must keep unknown speakers on one side.
    language, sex : str or None
        of all files: ISO 639-1; female or male
    spellings : refuse or merge
        what to do with several spellings of one speaker, see settle_spellings

    Returns
    -------
    list of dict
        columns of the clip table; `clip` is the path without its suffix. A file is excluded if it
        is outside the roots, if roots disagree about its folder, if its folder names no emotion,
        or if it has no speaker.

    Raises
    ------
    FileNotFoundError
        if root is not a folder
    ValueError
        if there is no audio file below the folder or below one of the roots; if no folder names an
        emotion, listing their names; if a speaker is spelled in several ways; if a setting is wrong
    """
    _check(roots=roots, speaker=speaker, language=language, sex=sex)
    speaker_pattern = _compiled(composed(speaker)) if speaker else None
    if speaker_pattern is None:
        log.warning(
            "%s: the setting speaker is null, so all files count as one speaker, %s, and are on "
            "one side of every split",
            root,
            UNKNOWN_SPEAKER,
        )
    words = emotion_words(emotions)
    root_paths = [PurePosixPath(composed(path)) for path in roots]
    files = [PurePosixPath(file) for file in audio_files(root)]
    for path in root_paths:
        if all(_folder_below(file, path) is None for file in files):
            folders = sorted({file.parts[0] for file in files if len(file.parts) > 1})
            raise ValueError(
                f"{root}: roots: no audio file below {path}, got the folders "
                f"{', '.join(folders) or 'none'}"
            )
    root_paths = _understood(files, root=root, roots=root_paths, words=words)
    common = {"language": language or "", "sex": sex_of(sex or "")}
    rows = [
        _describe(file, roots=root_paths, words=words, speaker_pattern=speaker_pattern) | common
        for file in files
    ]
    return settle_spellings(rows, corpus=root, spellings=spellings)


def _check(*, roots: Sequence[str], **texts: object) -> None:
    if isinstance(roots, str) or not roots:
        raise ValueError(f"roots: got {roots!r}, want a list of at least one folder")
    for name, text in texts.items():
        if text is not None and not isinstance(text, str):
            raise ValueError(f"{name}: got {text!r}, want text in quotes, or null")
    if texts["sex"] and not sex_of(str(texts["sex"])):
        raise ValueError(f"sex: got {texts['sex']!r}, want female, male or null")
    if texts["speaker"]:
        _compiled(str(texts["speaker"]))


def _compiled(speaker: str) -> re.Pattern:
    wanted = "want a regular expression with a group (?P<speaker>...)"
    try:
        pattern = re.compile(speaker)
    except re.error as error:
        raise ValueError(f"speaker: got {speaker!r}, {error}; {wanted}") from error
    if "speaker" not in pattern.groupindex:
        raise ValueError(f"speaker: got {speaker!r}, {wanted}")
    return pattern


def _understood(
    files: Sequence[PurePosixPath],
    *,
    root: Path,
    roots: list[PurePosixPath],
    words: Mapping[str, str],
) -> list[PurePosixPath]:
    """Check that some folder names an emotion; return the roots, or those of the only depth."""
    found = [
        folder
        for file in files
        for path in roots
        if (folder := _folder_below(file, path)) is not None
    ]
    if any(plain(folder) in words for folder in found):
        return roots
    depths = {
        depth
        for file in files
        for depth, folder in enumerate(file.parts[:-1])
        if plain(folder) in words
    }
    fitting = ["/".join("*" * depth) for depth in sorted(depths) if depth]
    if roots == [PurePosixPath()] and len(fitting) == 1:
        log.warning(
            '%s: roots: got ["."], where no folder names an emotion, read as ["%s"], where some '
            "do. If the folders above them are named after speakers, set speaker: '^%s(?P<speaker>"
            "[^/]+)/'",
            root,
            fitting[0],
            "[^/]+/" * fitting[0].count("/"),
        )
        return [PurePosixPath(fitting[0])]
    others = " or ".join(f'["{path}"]' for path in fitting)
    raise ValueError(
        f"{root}: no folder below the roots {', '.join(map(str, roots))} names an emotion: got "
        f"{most_common(found)}, want words such as angry or sad, "
        f"{f'roots: {others}, ' if others else ''}or an entry for each word in the setting emotions"
    )


def _describe(
    file: PurePosixPath,
    *,
    roots: Sequence[PurePosixPath],
    words: Mapping[str, str],
    speaker_pattern: re.Pattern | None,
) -> dict:
    row = {"clip": str(file.with_suffix("")), "file": str(file)}
    folders = {folder for root in roots if (folder := _folder_below(file, root)) is not None}
    if len(folders) != 1:
        fault = "in several roots" if folders else "outside the roots"
        listed = ", ".join(map(str, roots))
        return row | {"excluded": f"{fault}: got {file}, want a path below one of {listed}"}
    emotion, reason = emotion_of(folders.pop(), words)
    if reason:
        return row | {"excluded": reason}
    speaker = UNKNOWN_SPEAKER
    if speaker_pattern:
        match = speaker_pattern.search(composed(str(file)))
        speaker = match["speaker"] if match else ""
        if not speaker:
            wanted = f"want a match of {speaker_pattern.pattern}"
            return row | {"excluded": f"speaker unknown: got {file}, {wanted}"}
    return row | {"speaker": speaker, "emotion": emotion}


def _folder_below(file: PurePosixPath, root: PurePosixPath) -> str | None:
    """Return the folder directly below a root that holds a file.

    It is "" if the file is in the root itself, and None if the file is not below the root.
    """
    depth = len(root.parts)
    if len(file.parts) <= depth or not all(map(_matches, file.parts, root.parts)):
        return None
    return file.parts[depth] if len(file.parts) > depth + 1 else ""


def _matches(name: str, pattern: str) -> bool:
    """Whether a name fits a pattern, in which * stands for any characters."""
    anything = ".*".join(map(re.escape, pattern.split("*")))
    return re.fullmatch(anything, composed(name), re.DOTALL) is not None
