"""Stage `check`: where each chosen corpus was looked for, and how to get it if it is missing.

python -m stages.check
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from stages.running.outputs import complete
from stages.running.settings import load_params
from stages.sources.files import locate

OUTPUT = Path("data/corpora.ok")
ELSEWHERE = """More: data/raw/README.md. python -m stages.fetch NAME downloads it, or says how to.
Corpora that lie elsewhere: dvc remote modify --local corpora url /absolute/path/of/their/folder"""


def missing_corpora(corpora: dict[str, dict], *, root: str) -> list[str]:
    """Say of each corpus that is not there where it was looked for and how to get it.

    Parameters
    ----------
    corpora : settings by name
        the `reader` of each names the module that says how to get the corpus
    root : str
        the folder of all corpora, or `remote://` and an alias

    Returns
    -------
    list of str
        one message per missing corpus
    """
    messages = []
    for name, settings in corpora.items():
        folder = locate(f"{root}/{name}")
        if not folder.is_dir():
            module = import_module(settings["reader"]["_target_"].rpartition(".")[0])
            messages.append(f"{name}: no folder {folder}\n{module.HOW_TO_GET.strip()}")
    return messages


def main() -> None:
    params = load_params()
    if params.data.name == "demo":  # the stage `demo` makes those
        from stages.synthesis.demo_corpora import CORPORA  # loads what real speech does not need

        if missing := [name for name in params.corpora if name not in CORPORA]:
            sys.exit(f"{', '.join(missing)}: no demo speech, want -S data=real")
    elif messages := missing_corpora(params.corpora, root=params.data.root):
        sys.exit("\n\n".join([*messages, ELSEWHERE]))
    with complete(OUTPUT) as part:
        part.write_text("".join(f"{params.data.root}/{name}\n" for name in params.corpora))


if __name__ == "__main__":
    main()
