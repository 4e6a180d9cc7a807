"""The DVC alias `corpora`, which tells DVC and the stages where the corpora are."""

from __future__ import annotations

import shlex
from pathlib import Path

from configobj import ConfigObj
from dvc.config import Config

from stages.running.outputs import complete
from stages.sources.files import REMOTE, locate

ALIAS = "corpora"
DEFAULT = Path("data/raw")


def aliased_folder() -> Path:
    """Return the folder that the alias points to.

    Raises
    ------
    ValueError
        if it is not a folder, or does not exist, for instance because a disk is not mounted
    """
    folder = locate(f"{REMOTE}{ALIAS}")
    if not folder.is_dir():
        raise ValueError(
            f"{folder}: no such folder, but the alias {ALIAS} points to it; create it, or choose "
            "another folder with --to"
        )
    return folder.resolve()


def set_alias(folder: Path) -> str:
    """Point the alias to a folder, unless the user has set it to another one.

    Parameters
    ----------
    folder : Path
        absolute

    Returns
    -------
    str
        a message for the user; "" if the user has set the alias to this folder already
    """
    config = Config.from_cwd()
    command = f"dvc remote modify --local {ALIAS} url {shlex.quote(str(folder))}"
    local_url = config.load_one("local")["remote"].get(ALIAS, {}).get("url")
    url = config["remote"].get(ALIAS, {}).get("url", "")
    if local_url and Path(local_url).resolve() == folder:
        return ""
    if local_url or (url and Path(url).resolve() not in (folder, DEFAULT.resolve())):
        return f"the alias {ALIAS} still points to {url}; to point it to {folder}, run: {command}"
    _write_url(Path(config.files["local"]), url=str(folder))
    return f"the alias {ALIAS} now points to {folder}, as after: {command}"


def _write_url(path: Path, *, url: str) -> None:
    """Set the alias in a file of DVC's settings, in UTF-8; DVC itself writes only ASCII."""
    config = ConfigObj(str(path), encoding="utf-8")
    config.setdefault(f'remote "{ALIAS}"', {})["url"] = url
    with complete(path) as part, part.open("wb") as file:
        config.write(file)
