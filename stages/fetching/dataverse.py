"""The files of a data set on a Dataverse server."""

from __future__ import annotations

import time
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from stages.fetching.plan import Dataverse, File
from stages.fetching.transfer import read_json


def list_files(dataset: Dataverse, *, pause: Callable[[float], None] = time.sleep) -> list[File]:
    """List the files of the latest published version of a data set.

    Parameters
    ----------
    dataset : Dataverse
    pause : callable
        waits for a number of seconds between two tries

    Returns
    -------
    list of File
        each with the size and the checksum that the server publishes

    Raises
    ------
    OSError
        see read_json
    ValueError
        if the answer has another form, if a name would lead elsewhere, or if no file matches

    References
    ----------
    https://guides.dataverse.org/en/latest/api/native-api.html#list-files-in-a-dataset
    """
    url = (
        f"{dataset.server}/api/datasets/:persistentId/versions/:latest-published/files"
        f"?persistentId={dataset.doi}"
    )
    answer = read_json(url, pause=pause)
    try:
        found = [_file(entry, server=dataset.server) for entry in answer["data"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{url}: got an answer of another form, want a list of files") from error
    taken = [
        file
        for file in found
        if fnmatchcase(f"{file.into}/{file.name}".lower(), dataset.take.lower())
    ]
    if not taken:
        raise ValueError(f"{url}: got {len(found)} files, want some that match {dataset.take}")
    return taken


def _file(entry: dict, *, server: str) -> File:
    facts, name, into = entry["dataFile"], entry["label"], entry.get("directoryLabel", "")
    path = PurePosixPath(into, name)
    if name != path.name or ".." in path.parts or path.is_absolute() or "\\" in str(path):
        raise ValueError(f"{server}: got a file {str(path)!r}, want a name inside the data set")
    kind = facts["checksum"]["type"].lower().replace("-", "")
    return File(
        url=f"{server}/api/access/datafile/{int(facts['id'])}",
        name=name,
        checksum=f"{kind}:{facts['checksum']['value']}",
        size=int(facts["filesize"]),
        take=None,
        into=into or ".",
    )
