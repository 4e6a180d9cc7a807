"""Fetching corpora by name: show the licence, download, unpack, put in place, set the alias."""

from __future__ import annotations

import logging
import shlex
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from stages.fetching.alias import aliased_folder, set_alias
from stages.fetching.dataverse import list_files
from stages.fetching.plan import FetchPlan, read_plan
from stages.fetching.transfer import download
from stages.fetching.unpack import BrokenArchive, place, unpack

log = logging.getLogger(__name__)

DOWNLOADS = ".downloads"
DONE, FAILED, NOT_ACCEPTED = 0, 1, 2


def fetch_corpora(
    names: Sequence[str],
    *,
    folder: Path | None,
    accepted: bool,
    pause: Callable[[float], None] = time.sleep,
) -> int:
    """Fetch corpora, each into a folder of its name; if one fails, the others are still fetched.

    Parameters
    ----------
    names : sequence of str
        of corpora, as in conf/corpora
    folder : Path or None
        the folder of all corpora; None for the one that the alias points to
    accepted : bool
        whether the user accepts the licences; if not, nothing is downloaded
    pause : callable
        waits for a number of seconds

    Returns
    -------
    int
        DONE if all corpora are there, FAILED if one is not, NOT_ACCEPTED if nothing was tried
    """
    try:
        root = aliased_folder() if folder is None else folder.expanduser().resolve()
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
        log.info("%s", describe_plan(name, plan, root=root))
    automatic = {name: plan for name, plan in plans.items() if plan and plan.automatic}
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
    manual = [name for name, plan in plans.items() if plan and plan.steps]
    missing += [name for name in manual if not _present(root / name)]
    if {*automatic, *manual} - set(missing) and (message := set_alias(root)):
        log.info("%s", message)
    if missing:
        log.error("not fetched: %s", ", ".join(missing))
    return FAILED if missing else DONE


def describe_plan(name: str, plan: FetchPlan | None, *, root: Path) -> str:
    """Describe the licence of a corpus, and the files to download or the steps to follow."""
    if plan is None:
        return f"{name}: your own data, nothing to fetch"
    lines = [f"{name}: {plan.licence.name}, {plan.licence.url}"]
    if plan.steps and _present(root / name):
        lines.append(f"already there: {root / name}")
    elif plan.steps:
        folders = {
            "folder": shlex.quote(str(root / name)),
            "downloads": shlex.quote(str(root / DOWNLOADS / name)),
        }
        lines.append("cannot be downloaded automatically; follow these steps:")
        lines += [f"{i}. {step.format(**folders)}" for i, step in enumerate(plan.steps, start=1)]
        lines.append("then run this command again to set the alias")
    elif plan.dataverse:
        host = urlsplit(plan.dataverse.server).netloc
        page = plan.dataverse.doi.replace("doi:", "https://doi.org/")
        lines.append(f"all files of {page} from {host}, each with its published checksum")
    else:
        count = len(plan.files)
        sizes = [file.size for file in plan.files if file.size is not None]
        size = f"{sum(sizes) / 1e6:.0f} MB" if len(sizes) == count else "size unknown"
        files = "1 file" if count == 1 else f"{count} files"
        addresses = [address for file in plan.files for address in file.addresses]
        hosts = dict.fromkeys(urlsplit(address.url).netloc for address in addresses)
        lines.append(f"{files}, {size}, from {', or else '.join(hosts)}")
        if unchecked := sum(address.checksum is None for address in addresses):
            lines.append(
                f"no checksum is published for {unchecked} of them: only the CRC in the archive is "
                "checked"
            )
        if computed := sum(address.computed for address in addresses):
            lines.append(
                f"the checksum of {computed} of them is not the publisher's, but was computed from "
                "a download"
            )
    return "\n  ".join(lines)


def fetch(name: str, plan: FetchPlan, *, root: Path, pause: Callable[[float], None]) -> None:
    """Download the files of one corpus, unpack all of them, and then put them in place.

    Raises
    ------
    OSError, ValueError
        see transfer.download, unpack.unpack and unpack.place; the corpus is as it was before
    """
    downloads = root / DOWNLOADS / name
    unpacked = downloads / "unpacked"
    files = list_files(plan.dataverse, pause=pause) if plan.dataverse else plan.files
    if plan.dataverse:
        log.info("%s: %d files, %.0f MB", name, len(files), sum(f.size or 0 for f in files) / 1e6)
    paths = [
        # Files of a data set may have one name in two folders.
        download(file, folder=downloads / file.into if plan.dataverse else downloads, pause=pause)
        for file in tqdm(files, desc=name, unit="file", disable=None if plan.dataverse else True)
    ]
    shutil.rmtree(unpacked, ignore_errors=True)  # left by a run that was killed
    try:
        for file, path in zip(files, paths, strict=True):
            target = unpacked / file.into
            if file.take is None:
                target.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target / file.name)
            else:
                _unpack(path, take=file.take, folder=target)
        moved, same = place(unpacked, target=root / name)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    log.info("%s: %d files placed in %s, %d already there", name, moved, root / name, same)
    log.info("%s: the downloaded files may be deleted: %s", name, downloads)


def _unpack(path: Path, *, take: str, folder: Path) -> None:
    try:
        unpack(path, take=take, folder=folder)
    except BrokenArchive as error:
        aside = path.replace(path.with_name(f"{path.name}.broken"))
        raise ValueError(f"{error}; renamed to {aside}, the next run downloads it again") from error


def _present(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())
