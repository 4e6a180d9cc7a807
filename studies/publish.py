"""Put the exported network of the last run into models/pretrained/, with figures on other corpora.

dvc exp run -S +experiment=pretrained -S split.validation=0
python -m studies.publish --unheard tess cremad

Corpora after --unheard took no part in training. Their clips are answered by the 8-bit file one by
one, as `app.predict` answers. With -S 'degradations=[white,telephone,reverberation]' the run also
recognises degraded clips of held-out speakers, and the card says how well. It begins with the
metadata that model hubs read, so the folder can be uploaded as it is.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from joblib import cpu_count
from tabulate import tabulate

from stages.audio.store import FULL_SCALE, open_audio
from stages.clips.clip_table import read_clips
from stages.learning.checkpoints import Job
from stages.learning.recogniser import load_recogniser
from stages.reporting.degradation_table import read_robustness
from stages.reporting.predictions import Predictions, read_predictions
from stages.reporting.systems import ua_row
from stages.running.entry import run_command
from stages.running.outputs import complete
from stages.settings.checks import check
from stages.settings.loading import load_params, plain
from stages.splits.split_table import read_split
from studies import score
from studies.answers import parse_answers
from studies.asking import ask_all, asks_model
from studies.composition import compose_params

EXPORT, INT8 = Path("models/export"), "inflect.int8.onnx"
PRETRAINED = Path("models/pretrained")
JOURNALS = Path("reports/scores")
_CARD = """\
## Held-out speakers

{held_out}

In the first row ten unlabelled clips of each speaker are known, as after getting used to a voice;
in the second, none. Both rows score the same clips. The expected calibration error of the
probabilities is {ece:.3f} (first row; no temperature was fitted).

{degraded}## Corpora that it never heard

{unheard}

Each clip is answered by `{file}`, with nothing known of its speaker. Another room, microphone, way
of acting and language cost that much, and spontaneous speech costs more.

## Training speakers

{speakers}.
{clips} clips in all.

## Making it again

```sh
dvc exp run -S +experiment=pretrained -S split.validation=0{degradations}
python -m studies.publish --unheard {names}
```
"""
_DEGRADED = """\
## Degraded speech

{table}

Clips of held-out speakers were degraded as `docs/robustness.md` says and recognised by the network
of their fold, which heard no degraded speech in training. Ten unlabelled clips of each speaker, not
degraded, are known. The difference is to the first row, on the same clips.

"""


def voice_unknown(predictions: Predictions, *, clips: pd.DataFrame, seed: int) -> np.ndarray:
    """Predict held-out clips by the network of their fold, of which it knows no other clip.

    Parameters
    ----------
    predictions : Predictions
        of the same run
    clips : DataFrame
        the clip table
    seed : int
        of the networks

    Returns
    -------
    int64 [clips, 1]
        index of the label
    """
    store = open_audio("data/merged/audio.npy")
    places = clips.set_index("clip")[["start", "samples"]]
    answers = np.zeros((len(predictions.clips), 1), np.int64)
    for fold, rows in predictions.clips.groupby("fold"):
        recogniser, _ = load_recogniser(f"models/folds/{Job(str(fold), seed).name}.pt")
        check(
            f"fold {fold}: labels",
            recogniser.labels,
            recogniser.labels == predictions.labels,
            str(predictions.labels),
        )
        for row, clip in rows["clip"].items():
            start, samples = places.loc[clip]
            waveform = torch.from_numpy(store[start : start + samples].astype(np.float32))
            with torch.inference_mode():
                logits, _ = recogniser.answer(waveform[None] / FULL_SCALE, None)
            answers[row] = int(logits[0].argmax())
    return answers


def unheard(corpus: str, *, labels: str, model: Path, jobs: int) -> dict[str, Any]:
    """Score an exported file on a corpus that took no part in its training.

    Returns
    -------
    dict
        corpus, clips, speakers, classes, and UA with its interval
    """
    chosen = ["data=real", f"corpora=[{corpus}]", "split=loso", f"labels={labels}"]
    settings = plain(compose_params(chosen))
    task = score.official_task(settings, names=score.names_here(settings))
    table = ask_all(
        score.files_of(settings, clips=task.split["clip"]),
        asks_model(model, classes=(), sample_rate=0),
        journal=JOURNALS / f"pretrained-{corpus}.answers.jsonl",
        jobs=jobs,
    )
    answers, fates = parse_answers(
        table.drop(columns="seconds").astype("str"),
        path=corpus,
        label_map=settings["labels"]["map"],
        rename={},
    )
    run, _ = score.score(task, answers, name="pretrained", fates=fates)
    found = run.predictions
    return {
        "corpus": corpus,
        "clips": found.clips["clip"].nunique(),
        "speakers": found.clips["speaker"].nunique(),
        "classes": found.clips["label"].nunique(),
        **ua_row(found.predicted, **found.tested),
    }


def write_card(
    *,
    metadata: Mapping[str, Any],
    metrics: Mapping[str, Any],
    unknown: Mapping[str, Any],
    others: Sequence[Mapping[str, Any]],
    speakers: Mapping[str, Sequence[str]],
    languages: Sequence[str],
    clips: int,
    degraded: pd.DataFrame,
    card: str,
) -> str:
    """Join the metadata for hubs, the card of the export, and what was measured here.

    `degraded` is reports/robustness.csv; without a row, the card says nothing of degraded speech.
    """
    known = {
        "voice": "ten unlabelled clips known",
        **{k: metrics[k] for k in ("ua", "ua_low", "ua_high")},
    }
    rows = [known, {"voice": "unknown", **{k: unknown[k] for k in ("ua", "ua_low", "ua_high")}}]
    results = [
        _result(f"{' and '.join(speakers)}, new speakers, voice {row['voice']}", row["ua"])
        for row in rows
    ] + [_result(f"{row['corpus']}, never heard", row["ua"]) for row in others]
    head = {
        "license": "cc-by-nc-sa-4.0",
        "language": list(languages),
        "library_name": "onnx",
        "pipeline_tag": "audio-classification",
        "tags": ["speech-emotion-recognition", "audio-classification", "onnx"],
        "model-index": [{"name": f"inflect-{metadata['model']}", "results": results}],
    }
    chosen = list(dict.fromkeys(degraded["degradation"][1:]))  # the first row is the clean clips
    body = _CARD.format(
        degraded=_DEGRADED.format(table=_table(_conditions(degraded))) if chosen else "",
        degradations=f" \\\n  -S 'degradations=[{','.join(chosen)}]'" if chosen else "",
        held_out=_table(rows),
        ece=metrics["ece"],
        unheard=_table(others),
        file=INT8,
        speakers=";\n".join(f"{corpus}: {', '.join(names)}" for corpus, names in speakers.items()),
        clips=clips,
        names=" ".join(str(row["corpus"]) for row in others),
    )
    front = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n{card.rstrip()}\n\n{body}"


def _result(dataset: str, ua: float) -> dict[str, Any]:
    metric = {"type": "unweighted_accuracy", "name": "UA", "value": round(float(ua), 3)}
    return {
        "task": {"type": "audio-classification"},
        "dataset": {"name": dataset, "type": "speech"},
        "metrics": [metric],
    }


def _conditions(degraded: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of reports/robustness.csv for `_table`: level with its unit, and the difference."""
    rows = []
    for row in degraded.to_dict("records"):
        level = "" if pd.isna(row["level"]) else f"{row['level']:g} {row['unit']}"
        difference = (
            ""
            if pd.isna(row["difference"])
            else f"{row['difference']:+.3f} "
            f"({row['difference_low']:+.3f} – {row['difference_high']:+.3f})"
        )
        figures = {key: row[key] for key in ("ua", "ua_low", "ua_high")}
        found = {"degradation": row["degradation"], "level": level, "difference": difference}
        rows.append(found | figures)
    return rows


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of figures as a table in Markdown, with the interval in one cell."""
    shown = [
        {
            **{k: v for k, v in row.items() if not k.startswith(("ua", "interval", "difference"))},
            "UA": f"{row['ua']:.3f}",
            "95 % interval": f"{row['ua_low']:.3f} – {row['ua_high']:.3f}",
            **{k: v for k, v in row.items() if k == "difference"},
        }
        for row in rows
    ]
    return tabulate(shown, "keys", "pipe", disable_numparse=True)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--unheard", nargs="+", action="extend", required=True, metavar="CORPUS")
    wanted = parser.parse_args()
    params = plain(load_params())
    report = json.loads(Path("reports/export.json").read_text(encoding="utf-8"))
    metrics = json.loads(Path("reports/metrics.json").read_text(encoding="utf-8"))
    check(
        "reports/export.json",
        report.get("exported"),
        bool(report.get("exported")),
        "a run with an exported network",
    )
    metadata = report["metadata"]
    check("data", metadata["speech"], metadata["speech"] == "real", "real speech")
    both = sorted(set(wanted.unheard) & set(metadata["corpora"]))
    check("--unheard", ", ".join(both), not both, "corpora that took no part in training")
    clips = read_clips("data/merged/clips.csv")
    predictions = read_predictions("data/predictions.csv", known=clips["clip"])
    learned = clips["clip"].isin(read_split("data/split.csv")["clip"])
    usable = clips[learned & (clips["variant"] == "clean")]
    names = usable["speaker"].str.split("/", n=1).str[1]
    unknown = ua_row(
        voice_unknown(predictions, clips=clips, seed=params["seeds"][0]), **predictions.tested
    )
    others = [
        unheard(corpus, labels=params["labels"]["name"], model=EXPORT / INT8, jobs=cpu_count())
        for corpus in wanted.unheard
    ]
    card = write_card(
        metadata=metadata,
        metrics=metrics,
        unknown=unknown,
        others=others,
        speakers={c: sorted(set(own)) for c, own in names.groupby(usable["corpus"])},
        languages=sorted(set(usable["language"]) - {""}),
        clips=len(usable),
        degraded=read_robustness("reports/robustness.csv"),
        card=(EXPORT / "README.md").read_text(encoding="utf-8"),
    )
    with complete(PRETRAINED) as folder:
        folder.mkdir()
        shutil.copyfile(EXPORT / INT8, folder / INT8)
        (folder / "README.md").write_text(card, encoding="utf-8")
    print(card)


if __name__ == "__main__":
    run_command(main)
