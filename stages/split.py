"""Stage `split`: labels of emotions, folds of clips, and proof that nothing leaks.

python -m stages.split
"""

from __future__ import annotations

import json
from pathlib import Path

from stages.clips.clip_table import read_clips
from stages.running.entry import run_command
from stages.running.outputs import complete
from stages.settings.loading import bind, load_params, plain
from stages.splits.assignment import split_clips
from stages.splits.enrolment import mark_enrolment
from stages.splits.labels import label_clips
from stages.splits.leaks import RULES, leakage_report
from stages.splits.split_table import write_split


def main() -> None:
    """Write data/split.csv and reports/leakage.json."""
    params = load_params()
    settings = params.split
    rules = {name: settings[name] for name in RULES}
    clips = label_clips(
        read_clips("data/merged/clips.csv"), name=params.labels.name, mapping=params.labels.map
    )
    split = split_clips(
        clips,
        protocol=bind(settings.protocol, "protocols"),
        **rules,
        validation=settings.validation,
        train_only=settings.train_only,
    )
    calibration = plain(params.calibration)
    if calibration["clips"]:
        split = mark_enrolment(
            clips,
            split,
            number=calibration["clips"],
            seed=calibration["seed"],
            fewer=calibration["fewer"],
        )
    report = leakage_report(clips, split, name=settings.name, calibration=calibration, **rules)
    write_split(split, "data/split.csv")
    with complete(Path("reports/leakage.json")) as part:
        part.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    run_command(main)
