"""Corpora by their names: licence shown, downloaded, unpacked, put in place, alias set."""

from __future__ import annotations

import logging
import shlex
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from stages.fetching.alias import aliased_folder, set_alias
from stages.fetching.plan import Plan, read_plan
from stages.fetching.transfer import download
from stages.fetching.unpack import BrokenArchive, place, unpack

log = logging.getLogger(__name__)

DOWNLOADS = ".downloads"
DONE, FAILED, NOT_ACCEPTED = 0, 1, 2


def fetch_corpora(
    names: Sequence[str],
    *,
    to: Path | None,
    accepted: bool,
    pause: Callable[[float], None] = time.sleep,
) -> int:
    """Fetch corpora, each into the folder of its name; one that fails does not stop the others.

    Parameters
    ----------
    names : sequence of str
        of corpora, as in conf/corpora
    to : Path or None
        the folder of all corpora; None: the one that the alias points to
    accepted : bool
        whether the user has accepted the licences; without, nothing is downloaded
    pause : callable
        waits for a number of seconds

    Returns
    -------
    int
        DONE: all of them are there; FAILED: at least one is not; NOT_ACCEPTED: nothing was tried
    """
    try:
        root = aliased_folder() if to is None else to.expanduser().resolve()
    except ValueError as error:
        log.error("%s", error)
        return FAILED
    plans, missing = {}, []
    for name in dict.fromkeys(names):
        try:
            plans[name] = read_plan(name)
        except ValueError as error:
            log.error("%s: %s", name, error)
            missing.append(name)
    for name, plan in plans.items():
        log.info("%s", describe(name, plan, root=root))
    automatic = {name: plan for name, plan in plans.items() if plan and plan.files}
    if automatic and not accepted:
        log.info(
            "Nothing was downloaded. If you accept the licence, add --accept-licence to the command"
        )
        return NOT_ACCEPTED
    for name, plan in automatic.items():
        try:
            fetch(name, plan, root=root, pause=pause)
        except (OSError, ValueError) as error:
            log.error("%s: %s", name, error)
            missing.append(name)
    by_hand = [name for name, plan in plans.items() if plan and plan.steps]
    missing += [name for name in by_hand if not _present(root / name)]
    if {*automatic, *by_hand} - set(missing) and (message := set_alias(root)):
        log.info("%s", message)
    if missing:
        log.error("not fetched: %s", ", ".join(missing))
    return FAILED if missing else DONE


def describe(name: str, plan: Plan | None, *, root: Path) -> str:
    """What the user should know before: licence, and what is downloaded or to be done by hand."""
    if plan is None:
        return f"{name}: data of your own, there is nothing to fetch"
    lines = [f"{name}: {plan.licence.name}, {plan.licence.url}"]
    if plan.steps and _present(root / name):
        lines.append(f"is there already: {root / name}")
    elif plan.steps:
        places = {
            "folder": shlex.quote(str(root / name)),
            "downloads": shlex.quote(str(root / DOWNLOADS / name)),
        }
        lines.append("this command cannot download it; by hand:")
        lines += [f"{i}. {step.format(**places)}" for i, step in enumerate(plan.steps, start=1)]
        lines.append("then run this command again, which lets the alias point there")
    else:
        sizes = [file.size for file in plan.files]
        size = "size not known" if None in sizes else f"{sum(sizes) / 1e6:.0f} MB"
        unchecked = sum(file.checksum is None for file in plan.files)
        n = "1 file" if len(sizes) == 1 else f"{len(sizes)} files"
        lines.append(f"{n}, {size}, from {urlsplit(plan.files[0].url).netloc}")
        if unchecked:
            lines.append(
                f"no checksum is published (files without one: {unchecked}): "
                "only the archive's own CRC is checked"
            )
    return "\n  ".join(lines)


def fetch(name: str, plan: Plan, *, root: Path, pause: Callable[[float], None]) -> None:
    """Download the files of one corpus, unpack all of them, and only then put them in place.

    Raises
    ------
    OSError, ValueError
        see transfer.download, unpack.unpack and unpack.place; the corpus is as it was before
    """
    downloads = root / DOWNLOADS / name
    unpacked = downloads / "unpacked"
    paths = [download(file, folder=downloads, pause=pause) for file in plan.files]
    shutil.rmtree(unpacked, ignore_errors=True)  # left by a run that was killed
    try:
        for file, path in zip(plan.files, paths, strict=True):
            folder = unpacked / file.into
            if file.take is None:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / file.name)
            else:
                _unpack(path, take=file.take, folder=folder)
        moved, same = place(unpacked, target=root / name)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    log.info("%s: %d files put into %s, %d were there already", name, moved, root / name, same)
    log.info("%s: what was downloaded may be deleted: %s", name, downloads)


def _unpack(path: Path, *, take: str, folder: Path) -> None:
    try:
        unpack(path, take=take, folder=folder)
    except BrokenArchive as error:
        aside = path.replace(path.with_name(f"{path.name}.broken"))
        raise ValueError(
            f"{error}; set aside as {aside}, the next run downloads it anew"
        ) from error


def _present(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())
