"""EMO-DB, the Berlin Database of Emotional Speech.

Ten actors speak ten German sentences in seven emotions; the clips are those that listeners
recognised. A name is `03a01Wa`: speaker, text, emotion (first letter of its German word), version.

References
----------
F. Burkhardt, A. Paeschke, M. Rolfes, W. F. Sendlmeier, B. Weiss: A Database of German Emotional
Speech. Interspeech 2005, 1517-1520. http://emodb.bilderbar.info/
"""

import re
from pathlib import Path

from stages.clips.files import outside_scheme, parse_names, refuse_other

HOW_TO_GET = """\
EMO-DB: http://emodb.bilderbar.info/download/download.zip (free to use; CC0 1.0 in audb)
Unpack it into emodb/, so that emodb/wav/03a01Wa.wav exists.
535 files in one folder; the label folders of the archive are not needed."""

PATTERN = r"(?P<speaker>\d\d)(?P<text>[a-z]\d\d)(?P<emotion>[WLEAFTN])(?P<version>[a-z])"
FORM = "speaker, text, emotion and version, 03a01Wa"

# Wut, Langeweile, Ekel, Angst, Freude, Trauer, neutral
EMOTIONS = {
    "W": "angry",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happy",
    "T": "sad",
    "N": "neutral",
}
# Sex is not odd and even.
SPEAKERS = {
    "03": ("male", "31"),
    "08": ("female", "34"),
    "09": ("female", "21"),
    "10": ("male", "32"),
    "11": ("male", "26"),
    "12": ("male", "30"),
    "13": ("female", "32"),
    "14": ("female", "35"),
    "15": ("male", "25"),
    "16": ("female", "31"),
}
SCHEME = {
    "speaker": tuple(SPEAKERS),
    "text": ("a01", "a02", "a04", "a05", "a07", "b01", "b02", "b03", "b09", "b10"),
}
# Often taken for this corpus: amused_57-84_0057.wav
EMOVDB_FILE = re.compile(r"[A-Za-z]_\d+-\d+_\d{1,4}\.[^./]+$")


def read(root: Path) -> list[dict]:
    """One row per file.

    Parameters
    ----------
    root : Path
        folder of the corpus, in any depth of subfolders

    Returns
    -------
    list of dict
        columns of the clip table; `sentence` is the code of the text, `take` the version. Speakers
        and texts outside the scheme are excluded.

    Raises
    ------
    FileNotFoundError
        if root is not a folder
    ValueError
        if no audio file lies below it, or if most are named as in EmoV-DB
    """
    rows = parse_names(root, pattern=PATTERN, form=FORM, describe=_describe)
    refuse_other(
        root,
        strange=[row["file"] for row in rows if EMOVDB_FILE.search(row["file"])],
        total=len(rows),
        share=1 / 2,
        corpus="EMO-DB",
        other="EmoV-DB: put it into emovdb/ and choose corpora=[emovdb]",
    )
    return rows


def _describe(name: re.Match) -> dict:
    codes = name.groupdict()
    clip = "".join(codes.values())
    reason = outside_scheme(codes, SCHEME)
    if reason:
        return {"clip": clip, "excluded": reason}
    sex, age = SPEAKERS[codes["speaker"]]
    return {
        "clip": clip,
        "speaker": codes["speaker"],
        "sex": sex,
        "age": age,
        "language": "de",
        "emotion": EMOTIONS[codes["emotion"]],
        "sentence": codes["text"],
        "take": codes["version"],
    }
