"""Stage `robustness`: degraded held-out clips, recognised by the model that never heard them.

python -m stages.robustness
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from stages.clips.clip_table import read_clips
from stages.reporting.degradation_table import COLUMNS, robustness_table
from stages.running.entry import run_command
from stages.running.outputs import complete
from stages.running.resources import check_disk
from stages.settings.loading import load_params, plain

OUTPUT, SIZE = Path("reports/robustness.csv"), 1_000_000  # bytes, at most


def main() -> None:
    """Write reports/robustness.csv, without a row if no degradation is chosen."""
    params = load_params()
    table = pd.DataFrame(columns=COLUMNS)
    if params.degradations:
        # Torch takes seconds to import, and is not needed where nothing is chosen.
        from stages.learning.degraded import recognise
        from stages.splits.leaks import protocol_in_words, shared_in_words
        from stages.splits.split_table import read_split

        check_disk(f"{OUTPUT}: its table", need=SIZE, folder=OUTPUT.parent)
        answers = recognise(
            plain(params.degradations),
            clips=read_clips("data/merged/clips.csv"),
            split=read_split("data/split.csv"),
            audio=Path("data/merged/audio.npy"),
            models=Path("models/folds"),
            seeds=list(params.seeds),
        )
        leakage = json.loads(Path("reports/leakage.json").read_text(encoding="utf-8"))
        protocol = protocol_in_words(params.split, shared_in_words(params.split, leakage))
        table = robustness_table(
            [condition[:3] for condition in answers.conditions],
            clips=answers.clips,
            truth=answers.truth,
            predicted=answers.predicted,
            n_classes=len(answers.labels),
            protocol=protocol,
        )
    with complete(OUTPUT) as part:
        table.to_csv(part, index=False, lineterminator="\n")


if __name__ == "__main__":
    run_command(main)
