"""Score the answers of any system on a corpus: the figures and the page of an own run.

python -m studies.score ANSWERS.csv --corpus ravdess --split ravdess6 --labels eight
python -m studies.score ANSWERS.csv --workspace
python -m studies.score --model theirs.onnx --classes angry happy sad --corpus emodb --split loso
python -m studies.score --command "python theirs.py {file}" --name theirs --corpus emodb

ANSWERS.csv has a column with the clip or file and a label, or probabilities by label, and perhaps a
seed. With --corpus, names are matched to the official list of clips, without any audio; with
--workspace, to the clips, folds and labels of the last run here. Clips that are missing, unknown or
answered twice are counted and named; a partial answer gives a partial figure that says so.

A model or a command is asked for each clip of the corpora in their folders, several at a time. A
command prints a label, or JSON with probabilities by label. Its answers are kept in
reports/scores/NAME.answers.jsonl, from which an interrupted call goes on.

Writes reports/scores/NAME/: what the stage `evaluate` writes, as far as no audio is needed, the
answers as matched, and scored.json. `python -m studies.compare reports/scores/NAME workspace`
compares them with other scores and experiments. Exit code 0: scored; 1: refused, with the reason;
2: wrong arguments.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import cpu_count

from stages.clips.clip_table import read_clips
from stages.reporting.assembly import report
from stages.reporting.predictions import arrange
from stages.reporting.sections import (
    confusion,
    corpus_scores,
    emotions,
    fairness,
    groups,
    overall,
    references,
    reliability,
    roc,
    speakers,
)
from stages.running.entry import run_command
from stages.running.outputs import complete
from stages.settings.checks import check
from stages.settings.loading import bind, load_params, plain
from stages.sources.files import audio_files, locate
from stages.splits.assignment import split_clips
from stages.splits.labels import label_clips
from stages.splits.leaks import RULES, leakage_report
from stages.splits.split_table import ALL, folds_of, read_split
from studies import scored
from studies.answers import (
    Fates,
    certain,
    check_rename,
    match,
    one_each,
    parse_answers,
    read_answers,
)
from studies.asking import ask_all, asks_command, asks_model
from studies.composition import compose_params
from studies.releases import clips_of_release, describe_names
from studies.scored import ScoredRun

OUTPUT = Path("reports/scores")
#: Sections that need no audio and no model.
SECTIONS = (
    *(overall, scored, references, emotions, confusion, roc, reliability),
    *(corpus_scores, groups, speakers, fairness),
)
_PROBABLE = (roc, reliability)  # nothing to show where answers are labels alone
_FACTS = ["clip", "corpus", "speaker", "sex"]


@dataclass(frozen=True)
class Task:
    """What is asked: clips, their labels and folds.

    settings : params.yaml, or what it would be
    clips, split : clip table and split table
    leakage : what training and test of a fold would share
    """

    settings: dict[str, Any]
    clips: pd.DataFrame
    split: pd.DataFrame
    leakage: dict[str, Any]


def official_task(settings: Mapping[str, Any], *, names: Sequence[str]) -> Task:
    """Ask for the clips of a release, whose names are known or given.

    Parameters
    ----------
    settings : mapping
        params.yaml: corpora, labels, split
    names : sequence of str
        of files or clips, for corpora whose release has no list of names

    Raises
    ------
    ValueError
        if no name is one of the corpus; see `split_clips`
    """
    tables = []
    for corpus, own in settings["corpora"].items():
        table = clips_of_release(corpus, own)
        if table is None:
            table = describe_names(names, corpus=corpus, reader=own["reader"])
            table = table[table["excluded"] == ""].drop_duplicates("clip")
        tables.append(table)
    clips = pd.concat(tables).sort_values("clip", ignore_index=True)
    split = settings["split"]
    rules = {name: split[name] for name in RULES}
    labelled = label_clips(
        clips, name=settings["labels"]["name"], mapping=settings["labels"]["map"]
    )
    table = split_clips(
        labelled,
        protocol=bind(split["protocol"], "protocols"),
        validation=0,
        train_only=split["train_only"],
        **rules,
    )
    proof = leakage_report(labelled, table, name=split["name"], **rules)
    return Task(dict(settings), clips, table, proof)


def workspace_task() -> Task:
    """Ask for the clips of the last run of the pipeline."""
    return Task(
        settings=plain(load_params()),
        clips=read_clips("data/merged/clips.csv"),
        split=read_split("data/split.csv"),
        leakage=json.loads(Path("reports/leakage.json").read_text(encoding="utf-8")),
    )


def score(
    task: Task, answers: pd.DataFrame, *, name: str, fates: Fates, heard: Sequence[str] = ()
) -> tuple[ScoredRun, pd.DataFrame]:
    """Match answers to the clips of a task, and arrange them as a run.

    Parameters
    ----------
    task : Task
    answers : DataFrame
        see `studies.answers.read_answers`
    name : str
        of the system
    fates : Fates
        is told what happens to the rows
    heard : sequence of str
        speakers that the system was trained on, with or without their corpus

    Returns
    -------
    ScoredRun
    DataFrame
        the answers, in the form of data/predictions.csv
    """
    tested = pd.concat(
        [
            task.split.loc[task.split[fold] == "test", ["clip", "label"]].assign(fold=fold)
            for fold in folds_of(task.split)
            if fold != ALL
        ]
    )
    matched = match(answers, task.clips, corpora=task.settings["corpora"], fates=fates)
    # As objects, which a hash table compares; texts of Arrow are converted one by one.
    scored_here = matched["clip"].astype("object").isin(tested["clip"])
    unscored = matched[~scored_here]
    labelled = unscored["clip"].astype("object").isin(task.split["clip"])
    label_set = task.settings["labels"]["name"]
    kinds = {
        "tested in no fold of this split, only trained on or enrolled, so not scored": labelled,
        f"without a label in the set {label_set}, so not scored": ~labelled,
    }
    for kind, chosen in kinds.items():
        fates.add(kind, unscored["clip"][chosen].tolist())
    matched = one_each(matched[scored_here], fates=fates)
    missing = sorted(set(tested["clip"]) - set(matched["clip"]))
    fates.add("tested, but without an answer", missing)
    columns = [column for column in matched if column.startswith("p_")]
    # Classes that no clip of these corpora has are dropped, as in a run.
    present = set(tested["label"])
    never = [c.removeprefix("p_") for c in columns if not matched[c].any()]
    if lacking := [label for label in never if label in present]:
        fates.notes.append(f"never answered: {', '.join(lacking)}")
    matched = matched.drop(columns=[f"p_{label}" for label in never if label not in present])
    table = task.clips[_FACTS].merge(tested, on="clip").merge(matched, on="clip")
    table = table.drop(columns="name")
    clips = task.clips.copy()
    gone = clips["clip"].isin(missing)
    clips.loc[gone, ["excluded", "samples", "frames"]] = ["no answer", 0, 0]
    settings = task.settings | {
        "model": {"name": name},
        "features": {},
    }
    settings["seeds"] = sorted(table["seed"].unique().tolist())
    run = ScoredRun(
        predictions=replace(
            arrange(table, known=task.clips["clip"], name=name), certain=certain(matched)
        ),
        validation=pd.DataFrame(),
        clips=clips,
        store=np.zeros(0, np.int16),
        caches={},
        checkpoints=Path(),
        training=pd.DataFrame(),
        leakage=task.leakage,
        robustness=pd.DataFrame(),
        label_sets={},
        settings=settings,
        fates=fates,
        n_wanted=tested["clip"].nunique(),
        heard=_speakers(heard, known=task.clips["speaker"]),
    )
    return run, table


def _speakers(names: Sequence[str], *, known: pd.Series) -> frozenset[str]:
    """Find speakers of the clip table by names with or without their corpus."""
    found = set()
    for name in names:
        own = {speaker for speaker in known if name in (speaker, speaker.partition("/")[2])}
        check("--trained-on", name, bool(own), f"speakers such as {known.iloc[0]}")
        found |= own
    return frozenset(found)


def check_output(output: Path) -> None:
    """Check that writing to a folder loses nothing but an earlier score."""
    if output.exists() and not (output / scored.FILE).is_file():
        raise ValueError(f"{output}: already exists and holds no score, want a new folder")


def files_of(settings: Mapping[str, Any], *, clips: Iterable[str]) -> dict[str, Path]:
    """Find the files of clips in the folders of their corpora, without those that are missing.

    Raises
    ------
    FileNotFoundError, ValueError
        if a folder is missing or holds another corpus
    """
    found: dict[str, Path] = {}
    for corpus, own in settings["corpora"].items():
        root = locate(f"{settings['data']['root']}/{corpus}")
        for row in bind(own["reader"], "corpora")(root):
            if not row.get("excluded"):
                found.setdefault(f"{corpus}/{row['clip']}", root / row["file"])
    return {clip: found[clip] for clip in clips if clip in found}


def _asked(
    settings: Mapping[str, Any], wanted: argparse.Namespace, *, clips: Iterable[str], journal: Path
) -> tuple[pd.DataFrame, list[str]]:
    """Ask the model or the command; the table of its answers, and what to say of it."""
    if wanted.command:
        ask = asks_command(wanted.command, timeout_s=wanted.timeout)
    else:
        ask = asks_model(wanted.model, classes=wanted.classes, sample_rate=wanted.sample_rate)
    files = files_of(settings, clips=clips)
    check("clips", 0, bool(files), "at least one of the corpus in its folder")
    table = ask_all(files, ask, journal=journal, jobs=wanted.jobs)
    seconds = table.pop("seconds").median()
    return table.astype("str"), [f"asked for each clip, {seconds:.3f} s each (median)"]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("answers", type=Path, nargs="?", metavar="ANSWERS.csv")
    source.add_argument("--model", type=Path, metavar="FILE.onnx", help="asked for each clip")
    source.add_argument("--command", help="asked for each clip; {file} stands for its path")
    parser.add_argument(
        "--corpus", nargs="+", action="extend", default=[], help="the corpus, or several"
    )
    parser.add_argument("--split", default="speaker", help="see conf/split; default: %(default)s")
    parser.add_argument("--labels", default="eight", help="see conf/labels; default: %(default)s")
    parser.add_argument(
        "--workspace", action="store_true", help="clips, folds and labels of the last run"
    )
    parser.add_argument(
        "--rename",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=LABEL",
        help="fearful=fear",
    )
    parser.add_argument(
        "--trained-on",
        nargs="+",
        default=[],
        metavar="SPEAKER",
        help="speakers that the system has heard, to be scored apart",
    )
    parser.add_argument("--name", help="of the system; default: the name of the file")
    parser.add_argument("--output", type=Path, help=f"default: {OUTPUT}/NAME")
    parser.add_argument("--jobs", type=int, default=cpu_count(), help="clips asked for at a time")
    parser.add_argument("--timeout", type=float, default=60, metavar="S", help="of --command")
    parser.add_argument(
        "--classes",
        nargs="+",
        action="extend",
        default=[],
        help="outputs of a --model of another project",
    )
    parser.add_argument("--sample-rate", type=int, default=16000, help="of such a --model, in Hz")
    wanted = parser.parse_args()
    if bool(wanted.corpus) == wanted.workspace:
        parser.error("want either --corpus NAME or --workspace")
    if wanted.command and not wanted.name:
        parser.error("--command: got no --name, want one for its answers")
    name = wanted.name or (wanted.answers or wanted.model).stem
    output = wanted.output or OUTPUT / name
    run, table = _scored(wanted, name=name, output=output)
    write(run, table, output)
    print("\n".join(scored.summary(run)))
    print(f"\nFull report: {output / 'index.html'}")


def _scored(
    wanted: argparse.Namespace, *, name: str, output: Path
) -> tuple[ScoredRun, pd.DataFrame]:
    """Read or ask for the answers, and score them."""
    check_output(output)
    rename = check_rename(wanted.rename)
    task = workspace_task() if wanted.workspace else None
    settings = task.settings if task else plain(compose_params(_overrides(wanted)))
    label_map = settings["labels"]["map"]
    if wanted.answers:
        answers, fates = read_answers(wanted.answers, label_map=label_map, rename=rename)
        task = task or official_task(settings, names=answers["name"].unique().tolist())
    else:
        task = task or official_task(settings, names=names_here(settings))
        table, notes = _asked(
            settings,
            wanted,
            clips=task.split["clip"],
            journal=output.with_name(f"{output.name}.answers.jsonl"),
        )
        answers, fates = parse_answers(table, path=name, label_map=label_map, rename=rename)
        fates.notes += notes
    return score(task, answers, name=name, fates=fates, heard=wanted.trained_on)


def _overrides(wanted: argparse.Namespace) -> list[str]:
    corpora = ",".join(wanted.corpus)
    chosen = [f"split={wanted.split}", f"labels={wanted.labels}"]
    return ["data=real", f"corpora=[{corpora}]", *chosen]


def names_here(settings: Mapping[str, Any]) -> list[str]:
    """Names of the files in the folders of corpora whose release has no list of names."""
    listed = []
    for corpus, own in settings["corpora"].items():
        if clips_of_release(corpus, own) is None:
            listed += audio_files(locate(f"{settings['data']['root']}/{corpus}"))
    return listed


def write(run: ScoredRun, table: pd.DataFrame, output: Path) -> None:
    """Write the report, and what studies.compare needs, into a folder."""
    left_out = _PROBABLE if run.predictions.certain else ()
    contents = report(run, [module for module in SECTIONS if module not in left_out])
    with complete(output) as folder:
        folder.mkdir()
        for name, content in contents.items():
            files = {"": content} if isinstance(content, bytes) else content
            for file, data in files.items():
                path = folder / name / file if file else folder / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(data)
        table.to_csv(folder / scored.ANSWERS, index=False, lineterminator="\n")
        facts = {"settings": scored.recorded(run), "leakage": run.leakage}
        (folder / scored.FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
