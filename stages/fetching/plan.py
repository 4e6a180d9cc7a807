"""What fetching a corpus takes, as its yaml says: licence, files to download, or steps by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

CONF = Path("conf/corpora")


@dataclass
class Licence:
    name: str
    url: str


@dataclass
class File:
    """One file to download.

    url, name : its address, and its name in the folder of downloads
    checksum : as published, `md5:` or `sha256:` before it; None: none is published
    size : bytes, as published, or None
    take : which members of an archive are taken, where `*` stands for folders as well; None: it is
        no archive
    into : folder below that of the corpus
    """

    url: str
    name: str
    checksum: str | None
    size: int | None
    take: str | None
    into: str


@dataclass
class Plan:
    """Files to download, or else steps to go by hand.

    In a step, {folder} is where the corpus belongs, {downloads} a scratch folder beside it.
    """

    licence: Licence
    files: list[File]
    steps: list[str]


def read_plan(name: str) -> Plan | None:
    """The key `download` of conf/corpora/<name>.yaml.

    params.yaml does not do: it holds the chosen corpora only.

    Parameters
    ----------
    name : str
        of a corpus

    Returns
    -------
    Plan or None
        None: there is nothing to download, as the data are the user's own

    Raises
    ------
    ValueError
        if there is no such corpus, with those that there are, or if its `download` is not of the
        form above
    """
    known = sorted(path.stem for path in CONF.glob("*.yaml"))
    if name not in known:
        listed = ", ".join(known) or f"a corpus of {CONF}: run this at the top of the repository"
        raise ValueError(f"no such corpus, want one of: {listed}")
    path = CONF / f"{name}.yaml"
    settings = OmegaConf.load(path)[name]
    if "download" not in settings:
        raise ValueError(f"{path}: got no key download, want one, null if there is nothing to get")
    if settings.download is None:
        return None
    try:
        plan = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Plan), settings.download))
    except OmegaConfBaseException as error:
        raise ValueError(f"{path}: download: {str(error).splitlines()[0]}") from error
    if bool(plan.files) == bool(plan.steps):
        raise ValueError(f"{path}: download: want either files or steps, the other one empty")
    return plan
