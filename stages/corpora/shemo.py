"""ShEMO, the Sharif Emotional Speech Database.

Utterances of 87 speakers from Persian radio plays in six emotions. A name is `M36S02`: sex, number
of the speaker, emotion, number. The letters do not mean what they mean in EMO-DB: W is surprise,
and F is female at the beginning and fear further on.

References
----------
O. Mohamad Nezami, P. Jamshid Lou, M. Karami: ShEMO: a large-scale validated database for Persian
speech emotion detection. Language Resources and Evaluation 53, 2019, 1-16.
https://doi.org/10.1007/s10579-018-9427-x
"""

import re
from pathlib import Path

from stages.sources.files import outside_scheme, parse_names

HOW_TO_GET = """\
ShEMO: https://github.com/mansourehk/ShEMO (for academic use)
Unpack it into shemo/, so that shemo/female/F01A01.wav and shemo/male/M01A01.wav exist.
3000 files. Later releases with other labels and fewer files are read by their names as well."""

PATTERN = r"(?P<sex>[FM])(?P<number>\d\d)(?P<emotion>[A-Z])(?P<take>\d\d)"
FORM = "sex, number of the speaker, emotion and number, M36S02"

EMOTIONS = {
    "A": "angry",
    "F": "fear",
    "H": "happy",
    "N": "neutral",
    "S": "sad",
    "W": "surprise",
}


def read(root: Path) -> list[dict]:
    """Describe each audio file of the corpus.

    Parameters
    ----------
    root : Path
        folder of the corpus; files may be at any depth below it

    Returns
    -------
    list of dict
        columns of the clip table; sentences are not known. The speaker is sex and number, `M36`,
        because women and men are numbered alike. Files with another emotion are excluded.

    Raises
    ------
    FileNotFoundError
        if root is not a folder
    ValueError
        if there is no audio file below root
    """
    return parse_names(root, pattern=PATTERN, form=FORM, describe=_describe)


def _describe(name: re.Match) -> dict:
    codes = name.groupdict()
    clip = "".join(codes.values())
    if reason := outside_scheme(codes, {"emotion": tuple(EMOTIONS)}):
        return {"clip": clip, "excluded": reason}
    return {
        "clip": clip,
        "speaker": codes["sex"] + codes["number"],
        "sex": "female" if codes["sex"] == "F" else "male",
        "language": "fa",
        "emotion": EMOTIONS[codes["emotion"]],
        "take": codes["take"],
    }
