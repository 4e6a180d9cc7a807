"""The model card: input and output of the exported files, their figures, limits and misuse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.sources.spelling import in_markdown

_CARD = """# Inflect, model `{model}`

Recognises the emotion that a voice expresses: {labels}.

- Input `waveform`: float32 [batch, samples], mono in [-1, 1] at {sample_rate} Hz, at any level and
  of any length; the waveforms of a batch have one length. The graph sets the level, computes and
  normalises the features, and applies the network.
- Output `probabilities` and `logits`: float32 [batch, {n_labels}], in the order above.
{calibration}- Applied to the training data, but not in the graph: {outside}.
- `inflect.int8.onnx` stores its weights in 8 bits and computes in float32: UA {ua_int8:.3f} on
  {n_held_out} held-out clips of one fold, against {ua_full:.3f} in full precision.

The metadata of the files hold labels, sample rate, corpora, protocol and figures.{demo}

## Trained on

| corpus | licence |
|---|---|
{corpora}

{pretrained}\
A licence that forbids commercial use or derivatives may also apply to models trained on the corpus.

## Figures

Unweighted accuracy (UA) {ua:.3f}, 95 % interval {ua_low:.3f} to {ua_high:.3f}: {n_clips} clips of
{n_speakers} speakers, protocol: {protocol}. These are the figures of networks with the same
settings, each tested on clips that it was not trained on. The files hold a network trained on all
clips, which leaves no clips to test it.

## Limits

- Most corpora are acted, by few speakers, in few languages and in good rooms. Expect lower
  figures for other voices, languages and microphones and for spontaneous speech, and measure them.
- The model always answers with one of its labels, also for music and silence, and its probabilities
  are not calibrated.
- The model recognises how a voice sounds to listeners, not what a person feels.

## Not for

Decisions about people: hiring, schooling, insurance, credit, policing, border control, health.
Monitoring people at work or at school, which the European Union's AI Act prohibits. Listening to
people without their knowledge.
"""
_CALIBRATION = """\
- Optional inputs `speaker_mean` and `speaker_std`: float32 [dimensions], of the voice; by default
  those of the average voice. Output `representation`: float32 [batch, dimensions], whose mean over
  clips of one voice estimates them, with `speaker_statistics` in the metadata. Such numbers tell
  whose voice it is: they are personal data.
"""
_DEMO = " **Trained on synthetic demo speech: useless for real speech; figures mean nothing.**"


def model_card(facts: Mapping[str, Any], held_out: Mapping[str, Any]) -> str:
    """Write the card, in Markdown.

    Parameters
    ----------
    facts : mapping
        metadata of the files
    held_out : mapping
        results on held-out clips; see stages.exporting.conversion.export
    """
    return _CARD.format(
        **{name: facts[name] for name in ("model", "sample_rate", "n_clips", "n_speakers")},
        **{name: facts[name] for name in ("ua", "ua_low", "ua_high", "protocol")},
        labels=", ".join(map(in_markdown, facts["labels"])),
        n_labels=len(facts["labels"]),
        outside="; ".join(facts["outside_the_graph"]),
        corpora="\n".join(f"| `{name}` | {terms} |" for name, terms in facts["licences"].items()),
        pretrained="".join(f"{origin}.\n\n" for origin in facts.get("pretrained", [])),
        calibration=_CALIBRATION if "speaker_statistics" in facts else "",
        demo=_DEMO if facts["speech"] == "synthetic" else "",
        n_held_out=held_out["clips"],
        ua_full=held_out["int8"]["ua"],
        ua_int8=held_out["int8"]["ua_int8"],
    )
