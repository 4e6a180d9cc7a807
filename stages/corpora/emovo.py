"""EMOVO, an Italian emotional speech corpus.

Six actors say fourteen sentences, some without meaning, in seven emotions. A name is `gio-f1-b1`:
emotion (first letters of its Italian word), speaker, sentence.

References
----------
G. Costantini, I. Iaderola, A. Paoloni, M. Todisco: EMOVO Corpus: an Italian Emotional Speech
Database. LREC 2014, 3501-3504. https://aclanthology.org/L14-1478/
"""

import re
from pathlib import Path

from stages.sources.files import outside_scheme, parse_names

HOW_TO_GET = """\
EMOVO: http://voice.fub.it/activities/corpora/emovo/index.html
Unpack it into emovo/, in any folders, so that f1/gio-f1-b1.wav exists below it.
588 files of 6 speakers."""

PATTERN = r"(?i:(?P<emotion>[a-z]{3})-(?P<speaker>[fm]\d)-(?P<sentence>[a-z]\d))"
FORM = "emotion, speaker and sentence, gio-f1-b1"

# gioia is joy, paura fear, rabbia anger, sorpresa surprise, tristezza sadness.
EMOTIONS = {
    "dis": "disgust",
    "gio": "happy",
    "neu": "neutral",
    "pau": "fear",
    "rab": "angry",
    "sor": "surprise",
    "tri": "sad",
}
SCHEME = {"emotion": tuple(EMOTIONS), "speaker": ("f1", "f2", "f3", "m1", "m2", "m3")}


def read(root: Path) -> list[dict]:
    """Describe each audio file of the corpus.

    Parameters
    ----------
    root : Path
        folder of the corpus; files may be at any depth below it

    Returns
    -------
    list of dict
        columns of the clip table. Files with an emotion or speaker outside the scheme are excluded.

    Raises
    ------
    FileNotFoundError
        if root is not a folder
    ValueError
        if there is no audio file below root
    """
    return parse_names(root, pattern=PATTERN, form=FORM, describe=_describe)


def _describe(name: re.Match) -> dict:
    codes = {field: code.lower() for field, code in name.groupdict().items()}
    clip = "-".join(codes.values())
    if reason := outside_scheme(codes, SCHEME):
        return {"clip": clip, "excluded": reason}
    return {
        "clip": clip,
        "speaker": codes["speaker"],
        "sex": "female" if codes["speaker"].startswith("f") else "male",
        "language": "it",
        "emotion": EMOTIONS[codes["emotion"]],
        "sentence": codes["sentence"],
    }
