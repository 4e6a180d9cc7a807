"""How to fetch a corpus, as its yaml says: its licence, and files to download or manual steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

CONF = Path("conf/corpora")


@dataclass
class Licence:
    """Name and address of a licence."""

    name: str
    url: str


@dataclass
class File:
    """One file to download.

    Attributes
    ----------
    url, name : str
        its address, and its name in the folder of downloads
    checksum : str or None
        as published, with the prefix `md5:` or `sha256:`; None if none is published
    size : int or None
        published size in bytes; None if none is published
    take : str or None
        pattern of the archive members to take, in which `*` also matches folders; None if the file
        is not an archive
    into : str
        target folder, below the folder of the corpus
    """

    url: str
    name: str
    checksum: str | None
    size: int | None
    take: str | None
    into: str


@dataclass
class FetchPlan:
    """Files to download, or else manual steps.

    In a step, {folder} is the folder of the corpus and {downloads} a scratch folder next to it.
    """

    licence: Licence
    files: list[File]
    steps: list[str]


def read_plan(name: str) -> FetchPlan | None:
    """Read the key `download` of conf/corpora/<name>.yaml.

    It cannot come from params.yaml, which holds only the chosen corpora.

    Parameters
    ----------
    name : str
        of a corpus

    Returns
    -------
    FetchPlan or None
        None if there is nothing to download, because the data are the user's own

    Raises
    ------
    ValueError
        if there is no such corpus, listing those that there are, or if its `download` is not a
        FetchPlan
    """
    known = sorted(path.stem for path in CONF.glob("*.yaml"))
    if name not in known:
        listed = ", ".join(known) or f"a corpus in {CONF}; run this at the root of the repository"
        raise ValueError(f"no such corpus, want one of: {listed}")
    path = CONF / f"{name}.yaml"
    settings = cast(DictConfig, OmegaConf.load(path))[name]
    if "download" not in settings:
        raise ValueError(
            f"{path}: got no key download, want one, null if there is nothing to fetch"
        )
    if settings.download is None:
        return None
    try:
        merged = OmegaConf.merge(OmegaConf.structured(FetchPlan), settings.download)
        plan = cast(FetchPlan, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        raise ValueError(f"{path}: download: {str(error).splitlines()[0]}") from error
    if bool(plan.files) == bool(plan.steps):
        raise ValueError(f"{path}: download: want either files or steps, and the other one empty")
    return plan
