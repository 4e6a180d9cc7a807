"""BanglaSER, a Bangla speech emotion recognition dataset.

34 speakers say three statements in five emotions, three times each; 27 of them recorded neutral
clips. A name is seven codes of two digits as in RAVDESS, `03-01-04-02-02-01-12`: mode, type of
statement, emotion, intensity, statement, repetition, actor. Its emotion codes differ from those of
RAVDESS.

References
----------
R. K. Das, N. Islam, M. R. Ahmed, S. Islam, S. Shatabda, A. K. M. M. Islam: BanglaSER: A speech
emotion recognition dataset for the Bangla language. Data in Brief 42, 2022, 108091.
https://doi.org/10.1016/j.dib.2022.108091
"""

import re
from pathlib import Path

from stages.sources.files import outside_scheme, parse_names, refuse_other

HOW_TO_GET = """\
BanglaSER: https://data.mendeley.com/datasets/t9h6p943xy/5
Unpack it into banglaser/, in any folders, so that 03-01-01-01-01-01-01.wav exists below it.
1467 files. They are named as in RAVDESS but the codes mean other emotions: keep the two apart."""

PATTERN = (
    r"(?P<mode>\d\d)-(?P<type>\d\d)-(?P<emotion>\d\d)-(?P<intensity>\d\d)"
    r"-(?P<statement>\d\d)-(?P<repetition>\d\d)-(?P<actor>\d\d)"
)
FORM = "seven codes of two digits, 03-01-04-02-02-01-12"

EMOTIONS = {
    "01": "happy",
    "02": "sad",
    "03": "angry",
    "04": "surprise",
    "05": "neutral",
}
INTENSITIES = {"01": "normal", "02": "strong"}
SCHEME = {
    "mode": ("03",),
    "type": ("01",),
    "emotion": tuple(EMOTIONS),
    "intensity": tuple(INTENSITIES),
    "statement": ("01", "02", "03"),
    "repetition": ("01", "02", "03"),
    "actor": tuple(f"{actor:02}" for actor in range(1, 35)),
}
# RAVDESS has more emotions than there are codes here. A stray file is excluded; a folder with a
# larger fraction of them is RAVDESS.
STRAY_FRACTION = 1 / 20
RAVDESS = (
    "RAVDESS, which has the same names but other emotions (01 neutral, 02 calm, 03 happy, "
    "04 sad, 05 angry, ...): put it into ravdess/ and choose corpora=[ravdess]"
)


def read(root: Path) -> list[dict]:
    """Describe each audio file of the corpus.

    Parameters
    ----------
    root : Path
        folder of the corpus; files may be at any depth below it

    Returns
    -------
    list of dict
        columns of the clip table; `sentence` is the code of the statement, `take` the code of the
        repetition. Files with codes outside the scheme are excluded.

    Raises
    ------
    FileNotFoundError
        if root is not a folder
    ValueError
        if there is no audio file below root, or if too many names have codes outside the scheme
    """
    rows = parse_names(root, pattern=PATTERN, form=FORM, describe=_describe)
    parsed = [row for row in rows if "emotion" in row]
    refuse_other(
        root,
        strange=[f"{row['file']}: {row['excluded']}" for row in parsed if not row["emotion"]],
        total=len(parsed),
        max_fraction=STRAY_FRACTION,
        corpus="BanglaSER",
        other=RAVDESS,
    )
    return rows


def _describe(name: re.Match) -> dict:
    codes = name.groupdict()
    clip = "-".join(codes.values())
    reason = outside_scheme(codes, SCHEME)
    if reason:
        return {"clip": clip, "emotion": "", "excluded": reason}
    return {
        "clip": clip,
        "speaker": codes["actor"],
        "sex": "male" if int(codes["actor"]) % 2 else "female",
        "language": "bn",
        "emotion": EMOTIONS[codes["emotion"]],
        "intensity": INTENSITIES[codes["intensity"]],
        "sentence": codes["statement"],
        "take": codes["repetition"],
    }
