"""EMO-DB, the Berlin Database of Emotional Speech.

Ten actors say ten German sentences in seven emotions. Version 1, of which published results speak,
keeps the 535 clips that at least 80 % of the listeners recognised; version 2.0 has 281 more. A name
is `03a01Wa`: speaker, text, emotion (first letter of its German word), take.

References
----------
F. Burkhardt, A. Paeschke, M. Rolfes, W. F. Sendlmeier, B. Weiss: A Database of German Emotional
Speech. Interspeech 2005, 1517-1520. http://emodb.bilderbar.info/
"""

import re
from pathlib import Path
from typing import Literal

from stages.sources.files import outside_scheme, parse_names, refuse_other

HOW_TO_GET = """\
EMO-DB: http://emodb.bilderbar.info/download/download.zip (free to use; CC0 1.0 in audb)
Unpack it into emodb/, so that emodb/wav/03a01Wa.wav exists.
535 files in one folder. The label folders of the archive are not needed."""

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
# Sex does not follow from odd and even numbers.
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
# Corpora often mistaken for this one: amused_57-84_0057.wav of EmoV-DB, and 10a02Ca.wav of Oréau,
# whose letters are French: colère, dégoût, joie, neutre, peur, surprise, tristesse.
EMOVDB_FILE = re.compile(r"[A-Za-z]_\d+-\d+_\d{1,4}\.[^./]+$")
OREAU_FILE = re.compile(r"(?:^|/)\d\d[a-z]\d\d[CDJNPST][a-z]\.[^./]+$")
# The clips of the release: speaker and text, then emotion and version of each clip. No rule gives
# them, because they are the recordings that passed a listening test.
CLIPS = """
03a01FaNcWa 03a02FcNcTaWbWc 03a04AdFdLcNcTaWc 03a05AaFcNdTcWaWb 03a07FaFbLaNcWc
03b01FaLbNbTdWaWc 03b02AaLaNaTbWb 03b03NbTcWc 03b09LaNcTcWa 03b10AbEcNaNcWbWc 08a01AbFdLcNaWaWc
08a02AbAcFeLaNaTbWc 08a04FfLaNcTbWc 08a05FeLcNbTaWa 08a07FdLaNaTaTbWc 08b01AaFdFeLbNaWa
08b02FfLaNbTcWd 08b03FeLcNbTcWd 08b09AbFdLcNbTbWaWc 08b10AaFdLaNcTcWa 09a01EaFaNbWb
09a02EaEbLaWb 09a04FdLaNbWa 09a05EdLcNbTbWbWc 09a07EbNaTaWbWd 09b01EaNaWb 09b02NaTbWcWd
09b03EdFaFdLbNbTaWb 09b09EaNdWa 09b10AaNdWa 10a01AcNbWa 10a02AbFaLbNaWa 10a04FdNbWaWb
10a05AaLdTbWb 10a07AaAdLaTaWb 10b01AaEaFaLb 10b02AaLaNaWb 10b03LaTbWb 10b09AdLbWb 10b10FcLcWa
11a01AaAbLdNdWc 11a02EcFbLdNcTcWc 11a04AcFdNdWc 11a05AdFbFcLcNaTdWd 11a07AcLdTaWc
11b01AbEbFcLbNcWd 11b02AbFdNaTdWb 11b03FcLcNbTdWaWb 11b09AdFdLdNaTdWa 11b10AdAeLdNcTdWa
12a01FbLbNbWc 12a02AcEcNbWaWc 12a04Wc 12a05AbLbNdTaWb 12a07AcLaWa 12b01TaWa 12b02AdEaFbNaWaWbWd
12b03LaTa 12b09AcTdWc 12b10AcLdWa 13a01AcEaEcFdLbNbWb 13a02AdEcFaLcNcTaWa 13a04AcFcLbTaWc
13a05AaEaLcNbTcWaWc 13a07FdLbNaTcWb 13b01AbEcFcLdNcWa 13b02FbLcNbWa 13b03AcEdFdLbNaTdWc
13b09AbEcFbFcLaNaWa 13b10EcFaLaNcWaWc 14a01AaAcEaNaWaWc 14a02AbEaFdLaNcTbWaWc
14a04AaEdLbTbTcWbWc 14a05AaAcFaFbLbNaTaTcWaWb 14a07AaEbFdLcLdNaTcWc 14b01AcEbFaFcNaWc
14b02AaFbNaTcWbWd 14b03AdEdLbTaWb 14b09AcEaFcLbTdWaWc 14b10AdEbLbNbTcWc 15a01EaFbLaNbWa
15a02AcEaLaNaTaWbWd 15a04AbAcFdNcWaWb 15a05EbFbLbNaWa 15a07AcEbFaFbLdNc 15b01EcLbNaWc
15b02AaLbNdTcWaWc 15b03AaLcNbTcWaWb 15b09AcFaLaNbTaWb 15b10AcLcNbNcWa 16a01EcFcLbNcTbWb
16a02EaEcLbNbTcWb 16a04AbEaFaLaLcNcTcWbWc 16a05AbEaFcLaTbWbWc 16a07EaFaFbLaLbNbTdWa
16b01AaEbFaLaLcTbWaWb 16b02AaEbFdLbWb 16b03AdEaFaFdLaNbTaWb 16b09AbEbFbLaLbWb
16b10AaEbFbLbTbTdWaWb
"""


def read(root: Path, *, version: Literal[1, 2]) -> list[dict]:
    """Describe each audio file of the corpus.

    Parameters
    ----------
    root : Path
        folder of the corpus; files may be at any depth below it
    version : 1 or 2
        of the corpus: 1 takes the 535 clips of the first release, 2 all of them

    Returns
    -------
    list of dict
        columns of the clip table; `sentence` is the code of the text, `take` the version. Files
        with a speaker or text outside the scheme are excluded. So are the further clips of version
        2.0, unless `version` is 2 or the folder holds no more than half of version 1.

    Raises
    ------
    FileNotFoundError
        if root is not a folder
    ValueError
        if there is no audio file below root, if most are named as in EmoV-DB or Oréau, or if
        `version` is neither 1 nor 2
    """
    if version not in (1, 2):
        raise ValueError(f"corpora.emodb.reader.version: got {version!r}, want 1 or 2")
    rows = parse_names(root, pattern=PATTERN, form=FORM, describe=_describe)
    refuse_other(
        root,
        strange=[row["file"] for row in rows if EMOVDB_FILE.search(row["file"])],
        total=len(rows),
        max_fraction=1 / 2,
        corpus="EMO-DB",
        other="EmoV-DB: put it into emovdb/ and choose corpora=[emovdb]",
    )
    refuse_other(
        root,
        strange=[
            f"{row['file']}: {row['excluded']}"
            for row in rows
            if row.get("excluded") and OREAU_FILE.search(row["file"])
        ],
        total=len(rows),
        max_fraction=1 / 2,
        corpus="EMO-DB",
        other="Oréau, a French corpus: list it in a table and choose corpora=[table]",
    )
    return rows if version == 2 else _without_version_2(rows)


def names() -> list[str]:
    """List the names of the 535 clips of version 1."""
    texts = CLIPS.split()
    return [text[:5] + text[i : i + 2] for text in texts for i in range(5, len(text), 2)]


def _without_version_2(rows: list[dict]) -> list[dict]:
    """Exclude the clips that only version 2.0 has, where the folder holds most of version 1."""
    first = set(names())
    if len(first & {row["clip"] for row in rows}) <= len(first) / 2:
        return rows  # recordings of one's own with such names
    reason = (
        "of version 2.0: got {}, want one of the 535 clips of version 1; or take all of them by "
        "corpora.emodb.reader.version=2"
    )
    return [
        row | {"excluded": reason.format(row["clip"])}
        if "emotion" in row and row["clip"] not in first
        else row
        for row in rows
    ]


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
