"""A page that anyone can try: upload or record speech, see its emotion.

streamlit run app/web.py                                     # or: make web

INFLECT_MODEL in the environment names another exported model. Nothing that is uploaded is kept.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pandas as pd
import streamlit as st

# Streamlit puts the folder of this file on the path, and not the one above it.
sys.path.insert(0, str(Path(__file__).parents[1]))

from app import pictures
from app.models import MODEL, Model, load_model
from app.predict import columns
from app.recordings import (
    MOST_MB,
    MOST_S,
    Answered,
    Recording,
    answer,
    example_recordings,
)

_LIMITS = """
- It was trained on acted speech by few people. On your voice, your microphone and your language,
  expect less than the figure above.
- It says how a voice *sounds*, not what somebody feels, and always answers with one of its
  emotions, for music as well.
- Its probabilities are not calibrated: .9 does not mean right nine times in ten.
- Do not decide anything about a person with it.
"""


@st.cache_resource
def _model(path: str) -> Model:
    return load_model(path)


@st.cache_resource
def _examples() -> dict[str, bytes]:
    return example_recordings()


def main() -> None:
    st.set_page_config("Inflect: emotion in speech", layout="centered")
    st.title("What emotion does a voice express?")
    try:
        model = _model(os.environ.get("INFLECT_MODEL", str(MODEL)))
    except (FileNotFoundError, ValueError) as error:
        st.error(f"There is no model to answer with. {error}")
        st.stop()
    _about(model)
    recordings = _inputs()
    if recordings:
        answers: dict[str, Answered] = {}
        for recording in recordings:
            name, number = recording.name, 2
            while name in answers:  # another file of the same name
                name, number = f"{recording.name} ({number})", number + 1
            answers[name] = answer(recording, model=model)
        _results(answers, model=model)


def _about(model: Model) -> None:
    """Which model answers, what it is worth, and what it is not."""
    facts = model.facts
    if facts.get("speech") == "synthetic":
        st.warning(
            "This model was trained on synthetic demo voices: it shows how the page works, and "
            "**what it says of real speech means nothing.**"
        )
    with st.expander("Which model is this, and how far can it be trusted?"):
        st.markdown(
            f"Model **{facts.get('model', 'unknown')}**, which tells apart "
            f"{', '.join(model.labels)}. Trained on {', '.join(facts.get('corpora', ['unknown']))}."
        )
        if {"ua", "ua_low", "ua_high"} <= set(facts):
            st.markdown(
                f"Unweighted accuracy **{facts['ua']:.2f}** ({facts['ua_low']:.2f} to "
                f"{facts['ua_high']:.2f} with 95 % confidence; guessing has "
                f"{1 / len(model.labels):.2f}), measured as follows: {facts.get('protocol')}."
            )
        st.markdown(_LIMITS)


def _inputs() -> list[Recording]:
    """What the visitor gave: files, a recording, an example."""
    files = st.file_uploader(
        f"Recordings of one voice, up to {MOST_MB} MB and {MOST_S // 60} minutes each",
        accept_multiple_files=True,
        max_upload_size=MOST_MB,
        help="WAV, FLAC, Ogg, MP3 and alike, any rate. Nothing is kept: a file is gone with "
        "your answer.",
    )
    spoken = st.audio_input("Or record yourself")
    examples = _examples()
    chosen = st.pills("Or try a synthetic voice, told to sound", list(examples))
    recordings = [Recording(file.name, file.size, file.getvalue) for file in files]
    if spoken:
        recordings.append(Recording("your recording", spoken.size, spoken.getvalue))
    if chosen:
        content = examples[chosen]
        recordings.append(Recording(f"synthetic, {chosen}", len(content), lambda: content))
    return recordings


def _results(answers: dict[str, Answered], *, model: Model) -> None:
    """A table of all of them, and one in detail."""
    rows = [{"file": name, **answered.row} for name, answered in answers.items()]
    for row in rows:
        if "error" in row:
            st.error(f"**{row['file']}** cannot be used: {row['error']}")
    table = pd.DataFrame(rows, columns=columns(model, over_time=False))
    good = [name for name, answered in answers.items() if answered.waveform is not None]
    if len(good) > 1:
        shown = table[table["error"].isna()].drop(columns="error")
        shown = shown.rename(columns=lambda name: name.removeprefix("p_"))
        st.dataframe(shown.style.format(precision=2), hide_index=True)
    if good:
        name = st.selectbox("Recording", good) if len(good) > 1 else good[0]
        _detail(name, answers[name])
    st.download_button(
        "Download as CSV", table.to_csv(index=False), "emotions.csv", "text/csv", on_click="ignore"
    )


def _detail(name: str, answered: Answered) -> None:
    emotion = answered.row["emotion"]
    st.subheader(f"{name}: {emotion}, {100 * answered.row[f'p_{emotion}']:.0f} %")
    st.audio(answered.waveform, sample_rate=answered.sample_rate)
    st.altair_chart(pictures.bars(answered.row), alt="Probability of each emotion")
    if len(answered.over_time) > 1:
        st.altair_chart(pictures.over_time(answered.over_time), alt="Emotion over time")
    else:
        st.caption("Shorter than one window of time: there is one answer for all of it.")
    st.pyplot(
        pictures.sound(answered.waveform, sample_rate=answered.sample_rate),
        alt="Waveform and mel spectrogram",
    )


if __name__ == "__main__":
    main()
