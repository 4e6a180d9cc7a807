"""Compare the UA of experiments, with a confidence interval and p value for each difference.

python -m studies.compare REFERENCE OTHER [OTHER ...] [--pairs] [--output DIR]

Name experiments as in `dvc exp show`: DVC experiments, branches, tags, commits, or `workspace`. A
folder that studies.score has written stands for the answers of another system.
Each is compared with the first one; --pairs compares every pair. P values are corrected for the
number of comparisons (Holm). The command reads predictions from the DVC cache and leaves the
workspace alone. It refuses experiments that were not tested on the same clips, labels and folds.

Writes reports/comparison/: index.html, experiments.csv, comparison.csv, classes.csv, and figures as
PNG and SVG. Exit code 0: compared; 1: refused, with the reason; 2: wrong arguments.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pandas as pd
from dvc.api import DVCFileSystem
from dvc.repo.experiments.utils import exp_refs_by_names
from dvc.scm import RevError
from omegaconf import DictConfig, OmegaConf

from stages.running.entry import run_command
from stages.running.outputs import complete
from stages.settings.loading import plain
from studies import comparison_page, scored
from studies.comparison import Comparison, Result, arrange_result, compare_results

OUTPUT = Path("reports/comparison")
PREDICTIONS, LEAKAGE, LOCK = "data/predictions.csv", "reports/leakage.json", "dvc.lock"
WORKSPACE = "workspace"
TABLES = ("experiments", "comparison", "classes")
#: Files of the output folder.
FILES = (
    "index.html",
    *(f"{name}.csv" for name in TABLES),
    *(f"{name}.{kind}" for name in comparison_page.FIGURES for kind in ("png", "svg")),
)
_TEXT = ("clip", "corpus", "speaker", "sex", "label")


def read_result(name: str) -> Result:
    """Read the predictions of an experiment, and check that they belong to its settings.

    Parameters
    ----------
    name : str
        DVC experiment, branch, tag, commit, `workspace`, or a folder that studies.score has written

    Raises
    ------
    ValueError
        if the name is unknown or ambiguous, or if the predictions are missing or differ from those
        that dvc.lock records as evaluated
    """
    if (Path(name) / scored.FILE).is_file():
        return _read_score(Path(name))
    files, commit = _open(name)
    lock = OmegaConf.create(_read(files, LOCK, name=name).decode())
    stages = plain(cast(DictConfig, lock))["stages"]
    if "evaluate" not in stages:
        raise ValueError(f"{name}: {LOCK} has no stage evaluate, want a finished experiment")
    record = stages["evaluate"]
    evaluated = {dep["path"]: dep["md5"] for dep in record["deps"]}
    made = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}
    found = {}
    for path in (PREDICTIONS, LEAKAGE):
        if made.get(path) != evaluated.get(path, ""):
            raise ValueError(f"{name}: {path} is not the one that was evaluated; run `dvc repro`")
        found[path] = _read(files, path, name=name)
        if hashlib.md5(found[path]).hexdigest() != made[path]:
            raise ValueError(f"{name}: {path} differs from {LOCK}; run `dvc repro`")
    return arrange_result(
        _table(io.BytesIO(found[PREDICTIONS])),
        name=_display(name, files, commit=commit),
        commit=commit,
        settings=record["params"]["params.yaml"],
        leakage=json.loads(found[LEAKAGE]),
    )


def _read_score(folder: Path) -> Result:
    """Read answers of another system from a folder that studies.score has written."""
    facts = json.loads((folder / scored.FILE).read_text(encoding="utf-8"))
    return arrange_result(_table(folder / scored.ANSWERS), name=folder.name, commit="", **facts)


def _table(source: Path | io.BytesIO) -> pd.DataFrame:
    return pd.read_csv(source, dtype=dict.fromkeys(_TEXT, "str"), keep_default_na=False)


def read_file(name: str, path: str) -> bytes:
    """Read a file of an experiment; see `read_result` for names and errors."""
    return _read(_open(name)[0], path, name=name)


def _open(name: str) -> tuple[DVCFileSystem, str]:
    """Open the files of an experiment, and find its commit; "" for the workspace."""
    if not name:
        raise ValueError("got an empty name, want an experiment")
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
                f"{name}: no such experiment, branch, tag or commit; "
                "`dvc exp list --all-commits` lists experiments"
            ) from error
        commits = ", ".join(
            f"{scm.get_ref(str(ref))[:7]} (run on {ref.baseline_sha[:7]})" for ref in refs
        )
        raise ValueError(
            f"{name}: {len(refs)} experiments have this name, want the commit of one: {commits}"
        ) from error


def _read(files: DVCFileSystem, path: str, *, name: str) -> bytes:
    """Read a file of an experiment from Git or the DVC cache."""
    try:
        return files.read_bytes(path)
    except FileNotFoundError as error:
        if path == LOCK:
            raise ValueError(f"{name}: no {LOCK}, want a commit with a finished run") from error
        raise ValueError(
            f"{name}: {path} is missing from the DVC cache; fetch it with `dvc exp pull` or "
            "`dvc fetch`, or run the experiment again"
        ) from error


def _display(name: str, files: DVCFileSystem, *, commit: str) -> str:
    """Return the given name; for a commit, the name of its experiment and the short commit."""
    if not commit.startswith(name):
        return name
    experiment = files.repo.experiments.get_exact_name([commit])[commit]
    return f"{experiment} ({commit[:7]})" if experiment else commit[:7]


def read_results(names: Sequence[str]) -> list[Result]:
    """Read all experiments.

    Raises
    ------
    ValueError
        see `read_result`; also if two names stand for the same experiment
    """
    experiments: dict[str, Result] = {}
    for name in names:
        experiment = read_result(name)
        key = experiment.commit or experiment.name  # only experiments have a commit
        if key in experiments:
            earlier = experiments[key].name
            raise ValueError(f"{earlier} and {name} are the same experiment, want different ones")
        experiments[key] = experiment
    return list(experiments.values())


def check_output(output: Path) -> None:
    """Check that writing to a folder loses no file.

    Parameters
    ----------
    output : Path
        OUTPUT, which may exist from an earlier comparison, or a new folder

    Raises
    ------
    ValueError
        naming the files in the way
    """
    if not output.exists():
        return
    if output != OUTPUT:
        raise ValueError(f"{output}: already exists, want a new folder")
    if not output.is_dir():
        raise ValueError(f"{output}: got a file, want a folder")
    if strangers := sorted({path.name for path in output.iterdir()} - set(FILES)):
        raise ValueError(f"{output}: would lose {', '.join(strangers)}; move it elsewhere")


def contents(comparison: Comparison) -> dict[str, bytes]:
    """Return the content of each of FILES."""
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
    parser.add_argument(
        "experiments", nargs="+", metavar="EXPERIMENT", help="the first is the reference"
    )
    parser.add_argument("--pairs", action="store_true", help="compare every pair")
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"default: {OUTPUT}")
    wanted = parser.parse_args()
    if len(wanted.experiments) < 2:
        parser.error(f"got only {wanted.experiments[0]}, want at least two experiments")
    check_output(wanted.output)
    experiments = read_results(wanted.experiments)
    pairs = list(itertools.combinations(range(len(experiments)), 2))
    if not wanted.pairs:
        pairs = [pair for pair in pairs if pair[0] == 0]
    comparison = compare_results(experiments, pairs=pairs)
    files = contents(comparison)
    with complete(wanted.output) as folder:
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
    report(comparison, output=wanted.output)


def report(comparison: Comparison, *, output: Path) -> None:
    """Print the outcome."""
    print("\n".join([comparison_page.tested_on(comparison), *comparison.notes, ""]))
    shown = ["experiment", "commit", "model", "seeds", "ua", "ua_low", "ua_high", "wa"]
    print(comparison.experiments[shown].round(3).to_string(index=False), end="\n\n")
    print(
        "\n".join(
            [
                *comparison_page.sentences(comparison),
                "",
                f"Full comparison: {output / 'index.html'}",
            ]
        )
    )


if __name__ == "__main__":
    run_command(main)
