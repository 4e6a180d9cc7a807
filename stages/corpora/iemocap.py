"""IEMOCAP, the Interactive Emotional Dyadic Motion Capture database.

Ten actors play scenes in pairs, one pair in each of five sessions. A name is
`Ses01F_impro04_M001`: session, the actor with the markers, scene, and the turn of an actor. The
speaker of a turn is the last letter F or M, not that after the session. Labels are in text files,
one for each scene: the emotion that most listeners chose.

References
----------
C. Busso, M. Bulut, C.-C. Lee, A. Kazemzadeh, E. Mower, S. Kim, J. N. Chang, S. Lee, S. S.
Narayanan: IEMOCAP: interactive emotional dyadic motion capture database. Language Resources and
Evaluation 42, 2008, 335-359. https://doi.org/10.1007/s10579-008-9076-6
"""

import re
from pathlib import Path

from stages.sources.files import parse_names

HOW_TO_GET = """\
IEMOCAP: https://sail.usc.edu/iemocap/ (for research, on request)
Put the folders Session1 to Session5 into iemocap/, so that both exist below iemocap/Session1:
sentences/wav/Ses01F_impro04/Ses01F_impro04_F000.wav and dialog/EmoEvaluation/Ses01F_impro04.txt"""

PATTERN = r"(?P<turn>Ses(?P<session>0[1-5])[FM]_(?:impro|script)\w+_(?P<sex>[FM])(?:\d{3}|XX\d))"
FORM = "session, scene and turn, Ses01F_impro04_F000"

EMOTIONS = {
    "ang": "angry",
    "dis": "disgust",
    "exc": "excited",
    "fea": "fear",
    "fru": "frustrated",
    "hap": "happy",
    "neu": "neutral",
    "sad": "sad",
    "sur": "surprise",
}
OTHER = {"oth": "other"}
NO_AGREEMENT = "xxx"
# [start - end], turn, emotion, [valence, activation, dominance]
LABEL = re.compile(r"^\[[^\]]*\]\t(?P<turn>\w+)\t(?P<code>\w+)\t", re.M)


def read(root: Path) -> list[dict]:
    """Describe each audio file of the corpus.

    Parameters
    ----------
    root : Path
        folder of the corpus; files and labels may be at any depth below it

    Returns
    -------
    list of dict
        columns of the clip table; the speaker is session and sex, `1F`. A turn is excluded if its
        listeners did not agree, if it has no label, or if two label files disagree; so is the
        recording of a whole scene.

    Raises
    ------
    FileNotFoundError
        if root is not a folder
    ValueError
        if there is no audio file below root
    """
    labels = _labels(root)
    return parse_names(
        root, pattern=PATTERN, form=FORM, describe=lambda name: _describe(name, labels)
    )


def _labels(root: Path) -> dict[str, set[str]]:
    """Read the codes of each turn from the label files; not those of single listeners."""
    labels: dict[str, set[str]] = {}
    for path in sorted(root.rglob("EmoEvaluation/*.txt")):
        if path.name.startswith(".") or not path.is_file():  # "._x.txt" of macOS
            continue
        for line in LABEL.finditer(path.read_text(encoding="utf-8", errors="replace")):
            labels.setdefault(line["turn"], set()).add(line["code"])
    return labels


def _describe(name: re.Match, labels: dict[str, set[str]]) -> dict:
    turn, codes = name["turn"], labels.get(name["turn"], set())
    row = {
        "clip": turn,
        "speaker": f"{int(name['session'])}{name['sex']}",
        "sex": "female" if name["sex"] == "F" else "male",
        "language": "en",
        "corpus_fold": name["session"],  # as most published systems are tested
    }
    known = EMOTIONS | OTHER
    if len(codes) == 1 and (emotion := known.get(next(iter(codes)))):
        return row | {"emotion": emotion}
    if codes == {NO_AGREEMENT}:
        return row | {"excluded": f"no agreement: got {NO_AGREEMENT}, want one emotion"}
    got = " and ".join(sorted(codes)) or "nothing in EmoEvaluation"
    return row | {"excluded": f"no label: got {got}, want one of {', '.join(known)}"}
