"""What people write for an emotion, a sex or an age, in the words of the clip table."""

import re
from collections.abc import Mapping

#: The common vocabulary. Every corpus's own codes are mapped to these names by its reader; a label
#: set (conf/labels) maps them on to the classes that are trained.
EMOTIONS = (
    "angry",
    "disgust",
    "fear",
    "happy",
    "neutral",
    "sad",
    "surprise",
    "calm",
    "boredom",
    "amused",
    "sleepy",
    "other",
)

#: Words that leave no doubt. Those of two meanings (excited, tense, content) are left to the user.
SYNONYMS = {
    "angry": ("anger", "ang"),
    "disgust": ("disgusted", "dis"),
    "fear": ("fearful", "afraid", "scared", "fea"),
    "happy": ("happiness", "joy", "joyful", "hap"),
    "neutral": ("neutrality", "neu"),
    "sad": ("sadness",),
    "surprise": ("surprised", "pleasant_surprise", "pleasant_surprised", "ps", "sur"),
    "calm": ("calmness",),
    "boredom": ("bored",),
    "amused": ("amusement",),
    "sleepy": ("sleepiness",),
    "other": (),
}
#: Whom clips are by if nothing says who speaks. One speaker, not many: speakers are held out, so
#: what is unknown must stand on one side of every split.
UNKNOWN_SPEAKER = "unknown"
SEXES = {
    "female": "female",
    "f": "female",
    "woman": "female",
    "male": "male",
    "m": "male",
    "man": "male",
}


def plain(word: str) -> str:
    """A word in small letters, with one underscore for the blanks and hyphens in it."""
    return re.sub(r"[\s_-]+", "_", word.strip()).lower()


def emotion_words(own: Mapping[str, str]) -> dict[str, str]:
    """All words that are understood as an emotion.

    Parameters
    ----------
    own : word -> emotion of the common vocabulary
        what the user adds; goes before what a word would mean otherwise

    Returns
    -------
    dict
        plain word -> emotion

    Raises
    ------
    ValueError
        naming a word that is no text, or an emotion outside the common vocabulary
    """
    words = {word: emotion for emotion, more in SYNONYMS.items() for word in (emotion, *more)}
    for word, emotion in own.items():
        if not isinstance(word, str):
            raise ValueError(f"emotions: got {word!r}, want text: put the word in quotes")
        if emotion not in EMOTIONS:
            raise ValueError(
                f"emotions: {word}: got {emotion!r}, want one of {', '.join(EMOTIONS)}"
            )
        words[plain(word)] = emotion
    return words


def emotion_of(word: str, words: Mapping[str, str]) -> tuple[str, str]:
    """The emotion that a word means, and if there is none, the reason to exclude a clip.

    Parameters
    ----------
    word : str
    words : plain word -> emotion
        see emotion_words

    Returns
    -------
    (emotion, reason)
        one of the two is ""
    """
    emotion = words.get(plain(word), "")
    if emotion:
        return emotion, ""
    return "", (
        f"emotion unknown: got {word or 'nothing'}, want one of {', '.join(EMOTIONS)}, "
        "or an entry for it in the setting emotions"
    )


def sex_of(word: str) -> str:
    """female, male, or "" for any other word."""
    return SEXES.get(plain(word), "")


def age_of(word: str) -> str:
    """An age in whole years, or "" for anything else than a number."""
    number = re.fullmatch(r"(\d{1,3})(?:\.0*)?", word.strip())
    return number[1] if number else ""
