"""Write docs/leaderboard.md: published figures and those of this project, side by side.

python -m studies.leaderboard

Published figures stand in stages/reporting/sections/references.yaml, those of this project in the
first table of docs/results.md. Nothing else is in the leaderboard.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf
from tabulate import tabulate

from stages.reporting.sections.references import PATH
from stages.running.entry import run_command
from stages.running.outputs import complete

OUTPUT, RESULTS = Path("docs/leaderboard.md"), Path("docs/results.md")
#: Corpora as docs/results.md and as conf/corpora name them.
TITLES = {
    "RAVDESS": "ravdess",
    "EMO-DB": "emodb",
    "TESS": "tess",
    "CREMA-D": "cremad",
    "SAVEE": "savee",
}
_COLUMNS = ("system", "pre-trained", "UA", "interval", "protocol", "folds", "note", "source")
_HEAD = """\
# Leaderboard

Unweighted accuracy (UA) of systems on complete corpora, with a class for each of their emotions.
Systems that were tested on speakers whom they were trained on stand in tables of their own: such
figures do not predict results for new speakers. “Other folds” marks speakers that are grouped in
another or an unknown way, where a difference of a few points means nothing. Two systems of which
only one has an interval cannot be ranked by their figures alone: [score its
answers](comparing.md#answers-from-elsewhere) to compare them.

This page is generated from `stages/reporting/sections/references.yaml` and the
[results](results.md) by `python -m studies.leaderboard`.
[CONTRIBUTING](../CONTRIBUTING.md#a-published-figure) says how to add a line.
"""


def published() -> Iterator[dict[str, Any]]:
    """Yield one row per published figure."""
    known = OmegaConf.to_container(OmegaConf.load(PATH))
    assert isinstance(known, list)  # as the file is written
    for entry in known:
        for system in entry["systems"]:
            yield {
                "corpus": entry["corpus"],
                "held_out": entry["speakers_held_out"],
                "classes": len(entry["emotions"]),
                "system": system["system"],
                "pre-trained": "yes" if system["pretrained"] else "",
                "folds": "the same" if entry["same_folds"] else "other",
                "protocol": ", ".join(entry["splits"]) or "its own",
                "UA": float(system["ua"]),
                "interval": "",
                "note": system["note"],
                "source": system["source"],
            }


def own(results: str) -> Iterator[dict[str, Any]]:
    """Yield one row per figure in the first table of docs/results.md.

    Raises
    ------
    ValueError
        naming a row that cannot be read
    """
    place = ""
    lines = [line for line in results.partition("\n## ")[2].splitlines() if line.startswith("|")]
    for line in lines[2 : _length(results)]:
        cells = [cell.strip().replace("**", "") for cell in line.strip("|").split("|")]
        place = cells[0] or place
        title, split = place.partition(",")[0], place.partition("`")[2].partition("`")[0]
        if title not in TITLES or not split or len(cells) < 6:
            raise ValueError(
                f"{RESULTS}: got the row {line!r}, want a corpus, a split and six cells"
            )
        yield {
            "corpus": TITLES[title],
            "held_out": "speaker-dependent" not in place,
            "system": f"**Inflect: {cells[1]}**",
            "pre-trained": "yes" if cells[2] else "",
            "folds": "the same",
            "protocol": split,
            "UA": float(cells[4]),
            "interval": cells[5],
            "note": f"{cells[3]} parameters" if cells[3] else "",
            "source": "[results](results.md)",
        }


def _length(results: str) -> int:
    """Number of lines of the first table."""
    table = results.partition("\n## ")[2].partition("\n|")[2]
    return 1 + table.partition("\n\n")[0].count("\n")


def render(results: str) -> str:
    """Return the page, from the text of docs/results.md."""
    table = pd.DataFrame([*published(), *own(results)])
    table["classes"] = table["classes"].fillna(table.groupby("corpus")["classes"].transform("max"))
    parts = [_HEAD]
    names = {corpus: title for title, corpus in TITLES.items()}
    for held_out in (True, False):
        for corpus in names:
            chosen = table[(table["held_out"] == held_out) & (table["corpus"] == corpus)]
            if not chosen.empty:
                parts.append(_section(names[corpus], chosen, held_out=held_out))
    return "\n".join(parts)


def _section(title: str, table: pd.DataFrame, *, held_out: bool) -> str:
    """Heading and rows of one corpus, the best first."""
    table = table.sort_values(["UA", "system"], ascending=[False, True])
    shown = table[
        ["system", "pre-trained", "UA", "interval", "protocol", "folds", "note", "source"]
    ]
    shown = shown.assign(UA=table["UA"].map("{:.3f}".format).str.removeprefix("0"))
    kind = "speakers held out" if held_out else "speaker-dependent"
    head = f"## {title}, {int(table['classes'].iloc[0])} classes, {kind}\n"
    rows = tabulate(shown, "keys", "pipe", showindex=False, disable_numparse=True)
    return f"{head}\n{_narrow(rows)}\n"


def _narrow(rows: str) -> str:
    """A table without the blanks that line its columns up."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in rows.splitlines()]
    lines[1] = ["---"] * len(lines[0])
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines)


def main() -> None:
    """Write the page."""
    text = render(RESULTS.read_text(encoding="utf-8"))
    with complete(OUTPUT) as part:
        part.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
