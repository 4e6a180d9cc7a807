"""CaFE, the Canadian French Emotional speech dataset.

Twelve actors say six sentences in six emotions at two intensities, and neutrally. A name is
`01-C-1-2`: actor, emotion (first letter of its French word), intensity, sentence.

References
----------
P. Gournay, O. Lahaie, R. Lefebvre: A Canadian French Emotional Speech Dataset. ACM Multimedia
Systems Conference 2018, 399-402. https://doi.org/10.1145/3204949.3208121
"""

import re
from pathlib import Path

from stages.sources.files import outside_scheme, parse_names

HOW_TO_GET = """\
CaFE: https://zenodo.org/records/1478765 (CC BY-NC-SA 4.0)
Unpack it into cafe/, in any folders, so that 01-C-1-2.wav exists below it.
936 files. The releases at 48 and 192 kHz hold the same recordings: one is enough."""

PATTERN = r"(?P<actor>\d\d)-(?P<emotion>[A-Z])-(?P<intensity>\d)-(?P<sentence>\d)"
FORM = "actor, emotion, intensity and sentence, 01-C-1-2"

# colère, dégoût, joie, neutre, peur, surprise, tristesse
EMOTIONS = {
    "C": "angry",
    "D": "disgust",
    "J": "happy",
    "N": "neutral",
    "P": "fear",
    "S": "surprise",
    "T": "sad",
}
# faible, fort
INTENSITIES = {"1": "normal", "2": "strong"}
SCHEME = {
    "actor": tuple(f"{actor:02}" for actor in range(1, 13)),
    "emotion": tuple(EMOTIONS),
    "sentence": tuple("123456"),
}


def read(root: Path) -> list[dict]:
    """Describe each audio file of the corpus.

    Parameters
    ----------
    root : Path
        folder of the corpus; files may be at any depth below it, and the names of the folders, with
        accents in either Unicode form, do not matter

    Returns
    -------
    list of dict
        columns of the clip table; neutral clips have no intensity. Files with codes outside the
        scheme are excluded.

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
    clip = "-".join(codes.values())
    intensities = {} if codes["emotion"] == "N" else {"intensity": tuple(INTENSITIES)}
    if reason := outside_scheme(codes, SCHEME | intensities):
        return {"clip": clip, "excluded": reason}
    return {
        "clip": clip,
        "speaker": codes["actor"],
        "sex": "male" if int(codes["actor"]) % 2 else "female",
        "language": "fr",
        "emotion": EMOTIONS[codes["emotion"]],
        "intensity": INTENSITIES[codes["intensity"]] if intensities else "",
        "sentence": codes["sentence"],
    }
