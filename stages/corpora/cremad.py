"""CREMA-D, the Crowd-sourced Emotional Multimodal Actors Dataset.

91 actors say twelve sentences in six emotions, and sentence IEO in three levels of each emotion.
A name is `1001_IEO_ANG_HI`: actor, sentence, emotion, level.

References
----------
H. Cao, D. G. Cooper, M. K. Keutmann, R. C. Gur, A. Nenkova, R. Verma: CREMA-D: Crowd-sourced
Emotional Multimodal Actors Dataset. IEEE Transactions on Affective Computing 5(4), 2014, 377-390.
https://doi.org/10.1109/TAFFC.2014.2336244
"""

import re
from pathlib import Path, PurePosixPath

from stages.sources.files import outside_scheme, parse_names, read_table
from stages.sources.vocabulary import age_of, sex_of

HOW_TO_GET = """\
CREMA-D: https://github.com/CheyneyComputerScience/CREMA-D (ODbL 1.0), cloned with Git LFS
Put its folder AudioWAV and its file VideoDemographics.csv into cremad/,
so that cremad/AudioWAV/1001_IEO_ANG_HI.wav exists. 7442 files in one folder."""

PATTERN = (
    r"(?i:(?P<actor>\d{4})_(?P<sentence>[a-z]{3})_(?P<emotion>[a-z]{3})_(?P<level>[a-z]{1,2}))"
)
FORM = "actor, sentence, emotion and level, 1001_IEO_ANG_HI"

EMOTIONS = {
    "ANG": "angry",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
# An older copy has X for XX, in 1040_ITH_SAD_X.
LEVELS = {"LO": "low", "MD": "medium", "HI": "strong", "XX": "", "X": ""}
SENTENCES = ("IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI")
ACTORS = tuple(str(actor) for actor in range(1001, 1092))
SCHEME = {
    "actor": ACTORS,
    "sentence": SENTENCES,
    "emotion": tuple(EMOTIONS),
    "level": tuple(LEVELS),
}
# One letter per actor, as in the Sex column of VideoDemographics.csv: 48 men, 43 women.
SEX_LETTERS = (
    "MFFFMFFFFF"  # 1001 to 1010
    "MFFMMMMFMF"  # 1011 to 1020
    "FMMFFMMFFF"  # 1021 to 1030
    "MMMMMMFMMM"  # 1031 to 1040
    "MMFMMFFMFM"  # 1041 to 1050
    "MFFFFFMFMF"  # 1051 to 1060
    "FMFMMMMMMM"  # 1061 to 1070
    "MFFFFFMFFM"  # 1071 to 1080
    "MFMFMMMMFM"  # 1081 to 1090
    "F"  # 1091
)
SEXES = {
    actor: "female" if letter == "F" else "male"
    for actor, letter in zip(ACTORS, SEX_LETTERS, strict=True)
}
DEMOGRAPHICS = "VideoDemographics.csv"
# The repository also holds every clip as MP3.
LOSSY, LOSSLESS = "AudioMP3", "AudioWAV"


def read(root: Path) -> list[dict]:
    """Describe each audio file of the corpus.

    Parameters
    ----------
    root : Path
        folder of the corpus; files may be at any depth below it. Ages come from
        VideoDemographics.csv, if it is in root or in a folder between root and the clips.

    Returns
    -------
    list of dict
        columns of the clip table. Files with codes outside the scheme are excluded, and so is the
        MP3 copy of a WAV file. Cells of VideoDemographics.csv that hold no sex or age are ignored,
        and so are actors without clips.

    Raises
    ------
    FileNotFoundError
        if root is not a folder
    ValueError
        if there is no audio file below root, or if VideoDemographics.csv is not a table or lacks a
        column
    """
    rows = parse_names(root, pattern=PATTERN, form=FORM, describe=_describe)
    lossless = {row["clip"] for row in rows if LOSSLESS in PurePosixPath(row["file"]).parts}
    actors = _demographics(root, [row["file"] for row in rows])
    for row in rows:
        row.update(actors.get(row.get("speaker", ""), {}))
        path = PurePosixPath(row["file"])
        if LOSSY in path.parts and row["clip"] in lossless:
            row["excluded"] = f"lossy copy: got {LOSSY}, want {row['clip']} in {LOSSLESS}"
            row["clip"] = str(path.with_suffix(""))  # the WAV file has the name
    return rows


def _describe(name: re.Match) -> dict:
    codes = {field: code.upper() for field, code in name.groupdict().items()}
    actor, sentence, emotion, level = codes.values()
    reason = outside_scheme(codes, SCHEME)
    if reason:
        return {"clip": "_".join(codes.values()), "excluded": reason}
    return {
        "clip": "_".join((actor, sentence, emotion, "XX" if level == "X" else level)),
        "speaker": actor,
        "sex": SEXES[actor],
        "language": "en",
        "emotion": EMOTIONS[emotion],
        "intensity": LEVELS[level],
        "sentence": sentence,
    }


def _demographics(root: Path, files: list[str]) -> dict[str, dict[str, str]]:
    """Read age and sex of each actor from the table of the corpus; empty without the table."""
    folders = sorted(
        {folder.as_posix() for file in files for folder in PurePosixPath(file).parents}
    )
    tables = [table for folder in folders if (table := root / folder / DEMOGRAPHICS).is_file()]
    if not tables:
        return {}
    actors = {}
    for _, line in read_table(tables[0], columns=("ActorID", "Age", "Sex")):
        known = {"age": age_of(line["Age"]), "sex": sex_of(line["Sex"])}
        # An empty cell does not override what is known without the table.
        actors[line["ActorID"]] = {column: cell for column, cell in known.items() if cell}
    return actors
