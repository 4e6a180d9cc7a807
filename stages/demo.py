"""Stage `demo`: small synthetic corpora with the names, folders and codes of the real ones.

python -m stages.demo

They let a fresh clone run the whole pipeline offline.
"""

from __future__ import annotations

import logging
from pathlib import Path

from stages.running.entry import run_command
from stages.running.outputs import complete
from stages.running.resources import check_disk
from stages.synthesis.demo_corpora import write_demo

FOLDER = Path("data/demo")
SIZE = 63_000_000  # bytes


def main() -> None:
    """Write data/demo/<corpus>/ and log the number of clips."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    check_disk(f"{FOLDER}: synthetic speech", need=SIZE, folder=FOLDER)
    with complete(FOLDER) as part:
        counts = write_demo(part)
    clips = ", ".join(f"{corpus} {count}" for corpus, count in counts.items())
    logging.info("demo: %s clips; figures on synthetic speech mean nothing for real speech", clips)


if __name__ == "__main__":
    run_command(main)
