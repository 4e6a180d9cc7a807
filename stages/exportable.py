"""Stage `exportable`: whether the chosen model can be exported, before it is trained.

python -m stages.exportable
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import OmegaConf

from stages.running.entry import run_command
from stages.running.outputs import complete
from stages.settings.loading import load_params, plain


def main() -> None:
    """Write models/exportable.ok, which `train` waits for, with the same content in every case."""
    params = load_params()
    if params.export:
        from stages.exporting.conversion import check_exportable  # takes seconds to import
        from stages.learning.checkpoints import SECTIONS

        check_exportable(plain(OmegaConf.masked_copy(params, list(SECTIONS))))
    with complete(Path("models/exportable.ok")) as part:
        part.write_text("checked, or not wanted\n")


if __name__ == "__main__":
    run_command(main)
