"""The model card: what the exported files are, what they are worth, and what they are not for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CARD = """# Inflect, model `{model}`

What emotion a voice expresses, of {labels}.

- Input `waveform`: float32 [batch, samples], mono in [-1, 1] at {sample_rate} Hz, of any loudness
  and length, a batch of one length. Level, features, normalisation and network are in the graph.
- Output `probabilities` and `logits`: float32 [batch, {n_labels}], in the order above.
- Not in the graph, but done to what it was trained on: {outside}.
- `inflect.int8.onnx` has its weights in 8 bits and computes in float32: UA {ua_int8:.3f} on
  {n_held_out} held-out clips, where full precision has {ua_full:.3f}.

The files hold labels, rate, corpora, protocol and figures as metadata. {demo}

## Trained on

| corpus | licence |
|---|---|
{corpora}

Licences that allow no commercial use, or no changed copies, may bind what is trained on such
corpora as well.

## Figures

Unweighted accuracy (UA) {ua:.3f}, 95 % interval {ua_low:.3f} to {ua_high:.3f}: {n_clips} clips of
{n_speakers} speakers, protocol: {protocol}. That is of networks with the same settings, each tested
on what it was not trained on. The files hold one that was trained on all clips: nothing is left to
test it.

## Limits

- The public corpora are acted, by few speakers, in few languages and good rooms. On other voices,
  languages, microphones and spontaneous speech expect less than the figures say: measure it.
- It always answers with one of its labels, for music and silence too, and its probabilities are
  not calibrated.
- It tells how a voice sounds to listeners, not what somebody feels.

## Not for

Decisions about people: hiring, schooling, insurance, credit, police, borders, health. Watching
people at work or at school, which the European Union's AI Act forbids. Listening to people who do
not know of it.
"""
_DEMO = (
    "**Trained on synthetic demo speech: of no use on real speech; no figure here means anything.**"
)


def model_card(facts: Mapping[str, Any], held_out: Mapping[str, Any]) -> str:
    """Write the card, in Markdown.

    Parameters
    ----------
    facts : mapping
        metadata of the files
    held_out : mapping
        what was measured on held-out clips; see stages.exporting.conversion.export
    """
    return _CARD.format(
        **{name: facts[name] for name in ("model", "sample_rate", "n_clips", "n_speakers")},
        **{name: facts[name] for name in ("ua", "ua_low", "ua_high", "protocol")},
        labels=", ".join(facts["labels"]),
        n_labels=len(facts["labels"]),
        outside="; ".join(facts["outside_the_graph"]),
        corpora="\n".join(f"| `{name}` | {terms} |" for name, terms in facts["licences"].items()),
        demo=_DEMO if facts["speech"] == "synthetic" else "",
        n_held_out=held_out["clips"],
        ua_full=held_out["int8"]["ua"],
        ua_int8=held_out["int8"]["ua_int8"],
    )
