"""Stage `check`: whether each chosen corpus is there and can be read, and what to do if not.

python -m stages.check
"""

from __future__ import annotations

from pathlib import Path

from stages.running.entry import run_command
from stages.running.outputs import complete
from stages.settings.loading import load_params, module_of
from stages.sources.files import locate, unreadable_entries, warn_of_letters

OUTPUT = Path("data/corpora.ok")
HELP = """See data/raw/README.md. python -m stages.fetch NAME downloads a corpus, or says how to.
For corpora in another folder: dvc remote modify --local corpora url /absolute/path"""


def missing_corpora(corpora: dict[str, dict], *, root: str) -> list[str]:
    """Describe each missing corpus: the folder where it should be, and how to get it.

    Parameters
    ----------
    corpora : mapping of str to settings
        by name; the `reader` of each names the module with the instructions
    root : str
        the folder of all corpora, or `remote://` and an alias
    """
    messages = []
    for name, settings in corpora.items():
        folder = locate(f"{root}/{name}")
        if not folder.is_dir():
            module = module_of(settings["reader"], "corpora")
            messages.append(f"{name}: no folder {folder}\n{module.HOW_TO_GET.strip()}")
    return messages


def main() -> None:
    """Check that every chosen corpus is there, and write data/corpora.ok."""
    params = load_params()
    if params.data.name == "demo":  # the stage `demo` writes these corpora
        from stages.synthesis.demo_corpora import CORPORA  # slow to import, not needed otherwise

        if missing := [name for name in params.corpora if name not in CORPORA]:
            raise ValueError(f"{', '.join(missing)}: no demo speech, want -S data=real")
    elif messages := missing_corpora(params.corpora, root=params.data.root):
        raise ValueError("\n\n".join([*messages, HELP]))
    elif messages := unreadable_entries(params.corpora, root=params.data.root):
        raise ValueError("\n".join(messages))
    warn_of_letters(repository=Path.cwd(), corpora=locate(params.data.root))
    with complete(OUTPUT) as part:
        part.write_text("".join(f"{params.data.root}/{name}\n" for name in params.corpora))


if __name__ == "__main__":
    run_command(main)
