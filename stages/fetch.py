"""Download corpora from their official addresses; no stage of the pipeline.

python -m stages.fetch NAME ... [--to DIR] [--accept-licence]

Says each corpus's licence, and goes on only if it is accepted. A broken download goes on where it
was, whatever comes is checked before it is unpacked, and no file that is there is overwritten.
Exit code 1: a corpus could not be fetched; 2: a licence was not accepted.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from stages.fetching.downloads import fetch_corpora


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="NAME", help="as in conf/corpora")
    parser.add_argument(
        "--to", type=Path, metavar="DIR", help="folder of all corpora; default: the alias corpora"
    )
    parser.add_argument("--accept-licence", action="store_true")
    arguments = parser.parse_intermixed_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        sys.exit(fetch_corpora(arguments.names, to=arguments.to, accepted=arguments.accept_licence))
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on where it was")


if __name__ == "__main__":
    main()
