"""Which experiment is ahead, by how much, and whether that could be chance.

python -m studies.compare REFERENCE OTHER [OTHER ...] [--pairs] [--output DIR]

Experiments are named as in `dvc exp show`: DVC experiments, branches, tags, commits, `workspace`.
Each is compared with the first one, with --pairs each with each; p values are corrected for as many
comparisons as are made (Holm). Predictions are read through DVC from its cache, and nothing in the
workspace is touched. Writes reports/comparison/: index.html, experiments.csv, comparison.csv,
classes.csv, and figures as PNG and SVG. Experiments that were not tested on the same clips, labels
and folds are refused. Exit code 0: compared; 1: not, and why; 2: wrong use.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pandas as pd
from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException
from dvc.repo.experiments.utils import exp_refs_by_names
from dvc.scm import RevError
from omegaconf import DictConfig, OmegaConf

from stages.running.outputs import complete
from stages.running.settings import plain
from studies import comparison_page
from studies.comparison import Comparison, Result, arrange_result, compare_results

OUTPUT = Path("reports/comparison")
PREDICTIONS, LEAKAGE, LOCK = "data/predictions.csv", "reports/leakage.json", "dvc.lock"
WORKSPACE = "workspace"
TABLES = ("experiments", "comparison", "classes")
#: What the output folder holds.
FILES = (
    "index.html",
    *(f"{name}.csv" for name in TABLES),
    *(f"{name}.{kind}" for name in comparison_page.FIGURES for kind in ("png", "svg")),
)
_TEXT = ("clip", "corpus", "speaker", "sex", "label")


def read_result(name: str) -> Result:
    """Read an experiment's predictions, and prove that they belong to the settings beside them.

    Parameters
    ----------
    name : str
        DVC experiment, branch, tag, commit, or `workspace`

    Raises
    ------
    ValueError
        if the name is unknown or stands for several, its predictions are missing, or they are not
        those that its dvc.lock says were evaluated
    """
    files, commit = _open(name)
    lock = OmegaConf.create(_read(files, LOCK, name=name).decode())
    stages = plain(cast(DictConfig, lock))["stages"]
    if "evaluate" not in stages:
        raise ValueError(f"{name}: {LOCK} has no stage evaluate, want an experiment that has ended")
    record = stages["evaluate"]
    evaluated = {dep["path"]: dep["md5"] for dep in record["deps"]}
    made = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}
    found = {}
    for path in (PREDICTIONS, LEAKAGE):
        if made.get(path) != evaluated.get(path, ""):
            raise ValueError(f"{name}: {path} is not what its stage evaluate read; run `dvc repro`")
        found[path] = _read(files, path, name=name)
        if hashlib.md5(found[path]).hexdigest() != made[path]:
            raise ValueError(f"{name}: {path} is not what {LOCK} says; run `dvc repro`")
    return arrange_result(
        pd.read_csv(
            io.BytesIO(found[PREDICTIONS]),
            dtype=dict.fromkeys(_TEXT, "str"),
            keep_default_na=False,
        ),
        name=_display(name, files, commit=commit),
        commit=commit,
        settings=record["params"]["params.yaml"],
        leakage=json.loads(found[LEAKAGE]),
    )


def read_file(name: str, path: str) -> bytes:
    """What a file of an experiment holds; see `read_result` for names and errors."""
    return _read(_open(name)[0], path, name=name)


def _open(name: str) -> tuple[DVCFileSystem, str]:
    """The files of an experiment, and its commit; "" for the workspace."""
    if not name:
        raise ValueError("got an empty name, want that of an experiment")
    if name == WORKSPACE:
        return DVCFileSystem(), ""
    files = DVCFileSystem(rev=name)
    try:
        return files, files.repo.get_rev()
    except RevError as error:
        scm = DVCFileSystem().repo.scm
        refs = exp_refs_by_names(scm, {name})[name]
        if not refs:
            raise ValueError(
                f"{name}: no experiment, branch, tag or commit of that name; "
                "`dvc exp list --all-commits` lists experiments"
            ) from error
        commits = ", ".join(
            f"{scm.get_ref(str(ref))[:7]} (run on {ref.baseline_sha[:7]})" for ref in refs
        )
        raise ValueError(
            f"{name}: {len(refs)} experiments have that name, want the commit of one: {commits}"
        ) from error


def _read(files: DVCFileSystem, path: str, *, name: str) -> bytes:
    """What a file of an experiment holds, from Git or from DVC's cache."""
    try:
        return files.read_bytes(path)
    except FileNotFoundError as error:
        if path == LOCK:
            raise ValueError(f"{name}: no {LOCK}, so nothing was run there") from error
        raise ValueError(
            f"{name}: {path} is no longer in DVC's cache; fetch it with `dvc exp pull` or "
            "`dvc fetch`, or run the experiment again"
        ) from error


def _display(name: str, files: DVCFileSystem, *, commit: str) -> str:
    """The name as given; before a commit, the name of the experiment that it is."""
    if not commit.startswith(name):
        return name
    experiment = files.repo.experiments.get_exact_name([commit])[commit]
    return f"{experiment} ({commit[:7]})" if experiment else commit[:7]


def read_results(names: Sequence[str]) -> list[Result]:
    """Read all experiments.

    Raises
    ------
    ValueError
        see `read_result`; if two names stand for one experiment
    """
    experiments: dict[str, Result] = {}
    for name in names:
        experiment = read_result(name)
        if experiment.commit in experiments:
            earlier = experiments[experiment.commit].name
            raise ValueError(f"{earlier} and {name} are the same, want different experiments")
        experiments[experiment.commit] = experiment
    return list(experiments.values())


def check_output(output: Path) -> None:
    """Make sure that no file is lost by writing to a folder.

    Parameters
    ----------
    output : Path
        OUTPUT, which may be there from the last time, or a new folder

    Raises
    ------
    ValueError
        naming what is in the way
    """
    if not output.exists():
        return
    if output != OUTPUT:
        raise ValueError(f"{output}: is there already, want a new folder")
    if not output.is_dir():
        raise ValueError(f"{output}: is a file, want a folder")
    if strangers := sorted({path.name for path in output.iterdir()} - set(FILES)):
        raise ValueError(f"{output}: holds {', '.join(strangers)}, which would be lost; move it")


def contents(comparison: Comparison) -> dict[str, bytes]:
    """What each of FILES holds."""
    drawn = comparison_page.draw(comparison)
    texts = {"index.html": comparison_page.render(comparison, drawn=drawn)}
    tables = (comparison.experiments, comparison.differences, comparison.classes)
    for name, table in zip(TABLES, tables, strict=True):
        text = table.to_csv(index=False, lineterminator="\n", float_format="%.6g")
        texts[f"{name}.csv"] = text
    return drawn | {name: text.encode() for name, text in texts.items()}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="+", metavar="EXPERIMENT", help="the first: reference")
    parser.add_argument("--pairs", action="store_true", help="compare each with each")
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"default: {OUTPUT}")
    wanted = parser.parse_args()
    if len(wanted.experiments) < 2:
        parser.error(f"got {wanted.experiments[0]} alone, want at least two experiments")
    try:
        check_output(wanted.output)
        experiments = read_results(wanted.experiments)
        pairs = list(itertools.combinations(range(len(experiments)), 2))
        if not wanted.pairs:
            pairs = [pair for pair in pairs if pair[0] == 0]
        comparison = compare_results(experiments, pairs=pairs)
    except (DvcException, ValueError) as error:
        sys.exit(str(error))
    files = contents(comparison)
    with complete(wanted.output) as folder:
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
    report(comparison, output=wanted.output)


def report(comparison: Comparison, *, output: Path) -> None:
    """Print what came out."""
    print("\n".join([comparison_page.tested_on(comparison), *comparison.notes, ""]))
    shown = ["experiment", "commit", "model", "seeds", "ua", "ua_low", "ua_high", "wa"]
    print(comparison.experiments[shown].round(3).to_string(index=False), end="\n\n")
    print(
        "\n".join([*comparison_page.sentences(comparison), "", f"More in {output / 'index.html'}"])
    )


if __name__ == "__main__":
    main()
