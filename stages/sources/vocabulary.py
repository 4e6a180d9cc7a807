"""Words for an emotion, a sex or an age, translated to those of the clip table."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from stages.sources.spelling import composed

#: The common vocabulary. Each reader maps the codes of its corpus to these names; a label set
#: (conf/labels) maps these names to the classes of the model.
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
    "excited",
    "frustrated",
    "anxious",
    "apologetic",
    "assertive",
    "concerned",
    "encouraging",
    "other",
)

#: Unambiguous words. The user decides about those with two meanings (tense, content).
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
    "excited": ("excitement", "exc"),
    "frustrated": ("frustration", "fru"),
    "anxious": ("anxiety",),
    "apologetic": (),
    "assertive": (),
    "concerned": (),
    "encouraging": (),
    "other": (),
}
#: The speaker of all clips whose speaker is not known. It is one speaker, so that a split that
#: holds speakers out never has the same person on both sides.
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
    """Put a word in lower case, with an underscore for each run of blanks and hyphens."""
    return re.sub(r"[\s_-]+", "_", composed(word.strip())).lower()


def emotion_words(own: Mapping[str, str]) -> dict[str, str]:
    """Collect the words that name an emotion.

    Parameters
    ----------
    own : mapping of word to emotion
        the user's additions, in the common vocabulary; they override the words known otherwise

    Returns
    -------
    dict
        word, as `plain` writes it, to emotion

    Raises
    ------
    ValueError
        if a word is not text, or an emotion is not in the common vocabulary
    """
    words = {
        word: emotion for emotion, synonyms in SYNONYMS.items() for word in (emotion, *synonyms)
    }
    for word, emotion in own.items():
        if not isinstance(word, str):
            raise ValueError(f"emotions: got {word!r}, want text; put the word in quotes")
        if emotion not in EMOTIONS:
            raise ValueError(
                f"emotions: {word}: got {emotion!r}, want one of {', '.join(EMOTIONS)}"
            )
        words[plain(word)] = emotion
    return words


def emotion_of(word: str, words: Mapping[str, str]) -> tuple[str, str]:
    """Look up the emotion that a word names.

    Parameters
    ----------
    word : str
    words : mapping of word to emotion
        see emotion_words

    Returns
    -------
    (str, str)
        the emotion and ""; or, if the word names none, "" and the reason to exclude the clip
    """
    emotion = words.get(plain(word), "")
    if emotion:
        return emotion, ""
    return "", (
        f"emotion unknown: got {word or 'nothing'}, want one of {', '.join(EMOTIONS)}, "
        "or an entry for this word in the setting emotions"
    )


def most_common(words: Iterable[str]) -> str:
    """List words with their counts, the ten most frequent ones, for a message."""
    counts = Counter(word or "nothing" for word in words)
    listed = ", ".join(f"{word} ({count})" for word, count in counts.most_common(10))
    return f"{listed} and {len(counts) - 10} more" if len(counts) > 10 else listed


def sex_of(word: str) -> str:
    """Return female, male, or "" for any other word."""
    return SEXES.get(plain(word), "")


def age_of(word: str) -> str:
    """Return an age in whole years, or "" if the word is not such a number."""
    number = re.fullmatch(r"(\d{1,3})(?:\.0*)?", word.strip())
    return number[1] if number else ""
