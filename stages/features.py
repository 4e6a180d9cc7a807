"""Stage `features`: one acoustic feature of every clip.

python -m stages.features FEATURE
"""

from __future__ import annotations

from pathlib import Path

from stages.clips.clip_table import read_clips
from stages.running.entry import only_argument, run_command
from stages.settings.loading import bind, load_params


def main() -> None:
    """Write data/features/<feature>.npy."""
    params = load_params()
    name = only_argument("feature", known=params.features)
    clips = read_clips("data/merged/clips.csv")
    from stages.clips.cache import write_cache  # torch takes a second to import

    write_cache(
        Path("data/features", f"{name}.npy"),
        feature=bind(params.features[name], "acoustics"),
        clips=clips,
        audio=Path("data/merged/audio.npy"),
        sample_rate=params.features[name].sample_rate,
    )


if __name__ == "__main__":
    run_command(main)
