"""Download corpora from their official addresses; not a stage of the pipeline.

python -m stages.fetch NAME ... [--to DIR] [--accept-licence]

The command shows the licence of each corpus and downloads it only with --accept-licence. An
interrupted download resumes, every download is checked before it is unpacked, and no existing file
is overwritten. Exit code 1: a corpus could not be fetched; 2: the licences were not accepted.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from stages.fetching.downloads import fetch_corpora
from stages.running.entry import run_command


def main() -> None:
    """Download the named corpora."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="NAME", help="a corpus of conf/corpora")
    parser.add_argument(
        "--to", type=Path, metavar="DIR", help="folder of all corpora (default: the alias corpora)"
    )
    parser.add_argument("--accept-licence", action="store_true", help="download the corpora")
    arguments = parser.parse_intermixed_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    sys.exit(fetch_corpora(arguments.names, folder=arguments.to, accepted=arguments.accept_licence))


if __name__ == "__main__":
    run_command(main)
