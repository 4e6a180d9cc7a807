"""Web page on which a visitor uploads or records speech and sees its emotion.

streamlit run app/web.py                                     # or: make web

The environment variable INFLECT_MODEL names another exported model. Nothing uploaded is kept.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import streamlit as st

# Streamlit puts the folder of this file on the path, but not the repository.
sys.path.insert(0, str(Path(__file__).parents[1]))

from app import pictures
from app.models import Model, Speaker, default_model, load_model
from app.predict import columns, format_answers
from app.recordings import (
    MAX_MB,
    MAX_S,
    Answered,
    Details,
    Recording,
    answer,
    details,
    example_recordings,
    get_used_to,
    visitors,
)
from app.windows import Tick
from stages.sources.spelling import in_markdown

_LIMITS = """
- The model was trained on acted speech by few people. Expect lower accuracy for your voice, your
  microphone and your language.
- It recognises how a voice *sounds*, not what a person feels. It always answers with one of its
  emotions, even for music.
- Its probabilities are not calibrated: .9 does not mean that it is right nine times out of ten.
- Do not use it to make decisions about people.
"""


@st.cache_resource
def _model(path: str) -> Model:
    return load_model(path)


@st.cache_resource
def _examples() -> dict[str, bytes]:
    return example_recordings()


def plain(text: object) -> str:
    """Escape a text that others wrote, so that Markdown shows it as it is.

    Otherwise a picture in the name of a file, for one, would be loaded.
    """
    escaped = in_markdown(" ".join(str(text).split()))
    return re.sub("[:#]", r"\\\g<0>", escaped)  # Streamlit reads :red[x], :smile: and more


def verbatim(text: object) -> str:
    """Show a name that others chose as code, in which no link, list or picture can begin."""
    line = " ".join(str(text).split()) or " "
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}"


def main() -> None:
    """Run the command."""
    st.set_page_config("Inflect: emotion in speech", layout="centered")
    st.title("What emotion does a voice express?")
    try:
        model = _model(os.environ.get("INFLECT_MODEL") or str(default_model()))
    except (FileNotFoundError, ValueError, ImportError) as error:
        st.error(f"The model cannot be loaded: {plain(error)}")
        st.stop()
    _about(model)
    speaker = _voice(model) if model.statistics else None
    recordings: dict[str, Recording] = {}
    for recording in _inputs():
        name, number = recording.name, 2
        while name in recordings:  # another file has the same name
            name, number = f"{recording.name} ({number})", number + 1
        recordings[name] = recording
    if recordings:
        _results(recordings, model=model, speaker=speaker)


@contextmanager
def _turn(name: str) -> Iterator[Tick]:
    """Wait in the queue, and say so; then say what is going on.

    Each message to the page is also where Streamlit gives up a run whose visitor has left or
    clicked elsewhere.
    """
    place, told_s = st.empty(), 0.0

    def say(message: str) -> None:
        nonlocal told_s
        if time.monotonic() > told_s + 0.2:
            told_s = time.monotonic()
            place.caption(message)

    with visitors().turn(lambda number: say(f"Number {number} in the queue")):
        place.caption(f"Listening to {verbatim(name)}")
        yield lambda: say(f"Listening to {verbatim(name)}")
    place.empty()


def _about(model: Model) -> None:
    """Show the model, its accuracy and its limits."""
    facts = model.facts
    if facts.get("speech") == "synthetic":
        st.warning(
            "This model was trained on synthetic demo voices. It shows how the page works; **its "
            "answers for real speech mean nothing.**"
        )
    with st.expander("Which model is this, and how reliable is it?"):
        st.markdown(
            f"The model **{plain(facts.get('model', 'unknown'))}** recognises "
            f"{plain(', '.join(model.labels))}. "
            f"It was trained on {plain(', '.join(facts.get('corpora', ['unknown corpora'])))}."
        )
        if {"ua", "ua_low", "ua_high"} <= set(facts):
            st.markdown(
                f"Unweighted accuracy **{facts['ua']:.2f}** (95 % interval {facts['ua_low']:.2f} "
                f"to {facts['ua_high']:.2f}; chance is {1 / len(model.labels):.2f}). "
                f"Protocol: {plain(facts.get('protocol'))}."
            )
        st.markdown(_LIMITS)


def _voice(model: Model) -> Speaker | None:
    """Collect recordings by which the voice is known, if the visitor gives any."""
    with st.expander("Let it get used to your voice first"):
        st.markdown(
            "Voices differ. A few recordings of yours, of whatever emotion, tell the model how you "
            "usually sound: three help a little, ten much more. They should not all be of one mood."
        )
        files = st.file_uploader(
            "Recordings of your voice", accept_multiple_files=True, max_upload_size=MAX_MB
        )
        spoken = st.audio_input("Or say something")
        recordings = [Recording(file.name, file.size, file.getvalue) for file in files]
        if spoken:
            recordings.append(Recording("what you said", spoken.size, spoken.getvalue))
        if not recordings:
            return None
        key = [recording.digest() for recording in recordings]
        if st.session_state.get("voice", [None])[0] != key:
            with _turn("your voice") as tick:
                learnt = get_used_to(recordings, model=model, tick=tick)
            st.session_state["voice"] = key, *learnt
        _, profile, messages = st.session_state["voice"]
        for message in messages:
            st.warning(verbatim(message))
        known = f"{profile.clips:g} recording{'s' * (profile.clips != 1)}"
        st.caption(f"The voice is known by {known}. Nothing of it is kept.")
        return profile.speaker(model) if profile.clips else None


def _inputs() -> list[Recording]:
    """Collect the uploaded files, the recording and the example of the visitor."""
    files = st.file_uploader(
        f"Recordings of one voice, up to {MAX_MB} MB and {MAX_S // 60} minutes each",
        accept_multiple_files=True,
        max_upload_size=MAX_MB,
        help="WAV, FLAC, Ogg, MP3 and similar formats, at any sample rate. No file is kept.",
    )
    spoken = st.audio_input("Or record yourself")
    examples = _examples()
    chosen = st.pills("Or try a synthetic voice", list(examples))
    recordings = [Recording(file.name, file.size, file.getvalue) for file in files]
    if spoken:
        recordings.append(Recording("your recording", spoken.size, spoken.getvalue))
    if chosen:
        content = examples[chosen]
        recordings.append(Recording(f"synthetic, {chosen}", len(content), lambda: content))
    return recordings


def _results(recordings: dict[str, Recording], *, model: Model, speaker: Speaker | None) -> None:
    """Show a table of all answers, and one answer in detail. Each content is answered once."""
    voice = str(speaker and [values.tobytes() for values in speaker])
    keys = {name: (recording.digest(), voice) for name, recording in recordings.items()}
    known: dict[tuple[str, str], Answered] = st.session_state.setdefault("answers", {})
    for name, key in keys.items():
        if key not in known:
            with _turn(name) as tick:
                known[key] = answer(recordings[name], model=model, speaker=speaker, tick=tick)
    for key in set(known) - set(keys.values()):
        del known[key]
    answers = {name: known[key] for name, key in keys.items()}
    rows = [{"file": name, **answered.row} for name, answered in answers.items()]
    for row in rows:
        if "error" in row:
            st.error(f"{verbatim(row['file'])} cannot be used: {plain(row['error'])}")
    table = pd.DataFrame(rows, columns=columns(model, over_time=False))
    usable = [name for name, answered in answers.items() if "error" not in answered.row]
    if len(usable) > 1:
        shown = table[table["error"].isna()].drop(columns="error")
        shown = shown.rename(columns=lambda name: name.removeprefix("p_"))
        st.dataframe(shown.style.format(precision=2), hide_index=True)
    if usable:
        name = st.selectbox("Recording", usable) if len(usable) > 1 else usable[0]
        if st.session_state.get("details", [None])[0] != keys[name]:
            with _turn(name) as tick:
                found = details(recordings[name], model=model, speaker=speaker, tick=tick)
                tick()
                picture = pictures.png(
                    pictures.sound(found.waveform, sample_rate=found.sample_rate)
                )
            st.session_state["details"] = keys[name], found, picture
        _detail(name, answers[name], *st.session_state["details"][1:])
    text = format_answers(rows, form="csv", names=list(table))
    st.download_button("Download as CSV", text, "emotions.csv", "text/csv", on_click="ignore")


def _detail(name: str, answered: Answered, found: Details, picture: bytes) -> None:
    emotion = answered.row["emotion"]
    percent = f"{100 * answered.row[f'p_{emotion}']:.0f} %"
    st.subheader(f"{verbatim(name)}: {plain(emotion)}, {percent}")
    if answered.average:
        emotion = answered.average["emotion"]
        percent = f"{100 * answered.average[f'p_{emotion}']:.0f} %"
        st.markdown(f"Without knowing your voice, the answer is {plain(emotion)}, {percent}.")
    st.audio(found.waveform, sample_rate=found.sample_rate)
    st.altair_chart(pictures.bars(answered.row), alt="Probability of each emotion")
    if len(found.over_time) > 1:
        st.altair_chart(pictures.over_time(found.over_time), alt="Emotion over time")
    else:
        st.caption("Too short for several windows: the answer covers the whole recording.")
    st.image(picture, width="stretch", alt="Waveform and mel spectrogram")


if __name__ == "__main__":
    main()
