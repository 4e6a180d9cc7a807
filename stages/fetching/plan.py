"""How to fetch a corpus, as its yaml says: its licence, and files to download or manual steps."""

from __future__ import annotations

from dataclasses import dataclass, field
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
class Address:
    """Where a file is.

    Attributes
    ----------
    url, name : str
        its address, and its name in the folder of downloads
    checksum : str or None
        with the prefix `md5:` or `sha256:`; None if there is none
    size : int or None
        published size in bytes; None if none is published
    computed : bool
        whether the checksum is not the publisher's, but was computed from a download
    """

    url: str
    name: str
    checksum: str | None
    size: int | None
    computed: bool = False


@dataclass
class File:
    """One file to download.

    Attributes
    ----------
    url, name, checksum, size, computed
        of its first address, see Address
    take : str or None
        pattern of the archive members to take, in which `*` also matches folders; None if the file
        is not an archive
    into : str
        target folder, below the folder of the corpus
    mirrors : list of Address
        tried in order if the first one fails; they hold the same clips, maybe in another archive
    """

    url: str
    name: str
    checksum: str | None
    size: int | None
    take: str | None
    into: str
    computed: bool = False
    mirrors: list[Address] = field(default_factory=list)

    @property
    def addresses(self) -> list[Address]:
        """All addresses, in order."""
        first = Address(self.url, self.name, self.checksum, self.size, self.computed)
        return [first, *self.mirrors]


@dataclass
class Dataverse:
    """A data set on a Dataverse server, all of whose files are downloaded one by one.

    Attributes
    ----------
    server, doi : str
        address of the server; identifier of the data set
    take : str
        pattern of the files to take, folders included; `*` also matches folders
    """

    server: str
    doi: str
    take: str


@dataclass
class FetchPlan:
    """Files to download or a data set, or else manual steps.

    In a step, {folder} is the folder of the corpus and {downloads} a scratch folder next to it.
    """

    licence: Licence
    files: list[File]
    steps: list[str]
    dataverse: Dataverse | None = None

    @property
    def automatic(self) -> bool:
        """Whether it can be fetched without manual steps."""
        return bool(self.files or self.dataverse)


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
    if sum(map(bool, (plan.files, plan.dataverse, plan.steps))) != 1:
        raise ValueError(
            f"{path}: download: want either files or steps or dataverse, and the others empty"
        )
    return plan
