"""Names as people and file systems write them: in print, and compared with each other."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Literal

from stages.settings.checks import check

_MARKUP = re.compile(r"[\\`*\[\]<>|$~&]|(?<!\w)_|_(?!\w)")
_NUMBER = re.compile(r"\d+(?:\.\d*)?")
_SPELLED = ("speaker", "sentence")


def composed(text: str) -> str:
    """Put accents and letters together (Unicode NFC): macOS keeps them apart in file names."""
    return unicodedata.normalize("NFC", text)


def is_utf8(name: str) -> bool:
    """Whether the bytes of a file's name are UTF-8."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def in_markdown(name: str) -> str:
    """Escape what Markdown would read as markup, so that a name shows as it is."""
    return _MARKUP.sub(r"\\\g<0>", name)


def identity(name: str) -> str:
    """Reduce a name to what all of its spellings share.

    Case, blanks around and repeated within it, invisible characters and the Unicode form do not
    matter. Numbers count by value: 7, 07 and 7.0 are one.
    """
    visible = "".join(c if unicodedata.category(c) != "Cf" else "" for c in name)
    name = composed(composed(" ".join(visible.split())).casefold())
    return _value(name) if _NUMBER.fullmatch(name) else name


def settle_spellings(
    rows: Iterable[dict], *, corpus: object, spellings: Literal["refuse", "merge"] = "refuse"
) -> list[dict]:
    """Give each speaker and each sentence of a corpus one spelling.

    One speaker under two names would be on both sides of a split that holds speakers out.

    Parameters
    ----------
    rows : iterable of dict
        columns of the clip table
    corpus : object
        its name or folder, for messages
    spellings : refuse or merge
        what to do with several spellings of one name; merge takes the most frequent one

    Returns
    -------
    list of dict
        the rows, each name in its only spelling

    Raises
    ------
    ValueError
        if there are several spellings, naming them; if `spellings` is neither refuse nor merge
    """
    check("spellings", spellings, spellings in ("refuse", "merge"), "refuse or merge")
    rows = list(rows)
    for column in _SPELLED:
        counts = Counter(name for row in rows if (name := row.get(column)))
        variants = defaultdict(list)
        for name in sorted(counts, key=lambda name: (-counts[name], name)):
            variants[identity(name)].append(name)
        several = [names for names in variants.values() if len(names) > 1]
        if several and spellings == "refuse":
            listed = "; ".join(" and ".join(map(_distinct, names)) for names in several[:5])
            more = f"; and {len(several) - 5} more" if len(several) > 5 else ""
            raise ValueError(
                f"{corpus}: {column}: got several spellings of one name: {listed}{more}; want one, "
                "or the reader's setting spellings: merge"
            )
        chosen = {name: names[0] for names in several for name in names}
        rows = [
            row | {column: chosen[row[column]]} if row.get(column) in chosen else row
            for row in rows
        ]
    return rows


def _value(number: str) -> str:
    """Write a number in digits of ASCII without needless zeros, to any length."""
    whole, _, rest = number.partition(".")
    digits = ["".join(str(unicodedata.decimal(digit)) for digit in part) for part in (whole, rest)]
    return f"{digits[0].lstrip('0') or '0'}.{digits[1].rstrip('0')}".rstrip(".")


def _distinct(name: str) -> str:
    """Quote a name so that it differs from those which print alike."""
    plain = name == composed(name) and name.isprintable()
    return repr(name) if plain else ascii(name)
