"""The alias `corpora`, which tells DVC and the stages where the corpora lie."""

from __future__ import annotations

import shlex
from pathlib import Path

from dvc.config import Config

from stages.sources.files import REMOTE, locate

ALIAS = "corpora"
DEFAULT = Path("data/raw")


def aliased_folder() -> Path:
    """The folder that the alias points to.

    Raises
    ------
    ValueError
        if it is no folder, or not there, as when a disk is missing
    """
    folder = locate(f"{REMOTE}{ALIAS}")
    if not folder.is_dir():
        raise ValueError(
            f"{folder}: no such folder, though the alias {ALIAS} points there; make it, "
            "or say where to with --to"
        )
    return folder.resolve()


def set_alias(folder: Path) -> str:
    """Let the alias point to a folder, unless the user has chosen another one.

    Parameters
    ----------
    folder : Path
        absolute

    Returns
    -------
    str
        what to tell the user; "" if it points there already
    """
    config = Config.from_cwd()
    command = f"dvc remote modify --local {ALIAS} url {shlex.quote(str(folder))}"
    own = config.load_one("local")["remote"].get(ALIAS, {}).get("url")
    url = config["remote"].get(ALIAS, {}).get("url", "")
    if own and Path(own).resolve() == folder:
        return ""
    if own or (url and Path(url).resolve() not in (folder, DEFAULT.resolve())):
        return (
            f"the alias {ALIAS} points to {url} and stays so; to have {folder} instead: {command}"
        )
    with config.edit("local") as local:
        local["remote"].setdefault(ALIAS, {})["url"] = str(folder)
    return f"the alias {ALIAS} points to {folder} from now on, as by: {command}"
