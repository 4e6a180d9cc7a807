"""The trial with damaged files: it sees every kind of fault, and which file has it."""

import gc
import itertools
import os
from collections import Counter

import pytest

from benchmarks import fuzz

#: What a faulty reader does with the second file.
FAULTS = {
    "crashed": lambda: 1 / 0,
    "crashed at once": lambda: os._exit(1),
    "over memory": lambda: bytearray(os.urandom(1)) * 120_000_000,
    "printed": lambda: os.write(1, b"hello"),
    "hung": lambda: all(itertools.repeat(True)),
}


def reader_with(fault):
    """A reader of files, of which one has a fault."""

    def read(paths):
        for path in paths:
            if path.name.startswith("000001"):
                fault()
        return ["read" for _ in paths]

    return lambda: read


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen_and_its_file_is_known(fault, monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(fuzz, "originals", lambda _: {"wav": b"x" * 300, "flac": b"y" * 300})
    monkeypatch.setattr(fuzz, "_LIMIT_S", 0.3)  # of CPU time
    monkeypatch.setattr(fuzz, "_LIMIT_MB", 20)
    monkeypatch.setitem(fuzz.WAYS, "faulty", (reader_with(FAULTS[fault]), 4))
    kept = tmp_path / "kept"
    found = Counter(fuzz.trial("faulty", files=4, seed=0, keep=kept))
    outcome = fault.removesuffix(" at once")
    assert found == {"read": 3, outcome: 1}
    (file,) = kept.iterdir()
    assert file.name == f"faulty-{outcome.replace(' ', '-')}-000001.flac"


def test_garbage_freed_while_a_file_is_read_does_not_hide_what_the_file_takes(monkeypatch):
    def fault():
        gc.collect()
        FAULTS["over memory"]()

    monkeypatch.setattr(fuzz, "originals", lambda _: {"wav": b"x" * 300})
    monkeypatch.setattr(fuzz, "_LIMIT_MB", 60)
    monkeypatch.setitem(fuzz.WAYS, "faulty", (reader_with(fault), 1))
    gc.disable()  # the garbage is still there when the worker begins
    garbage = [bytearray(os.urandom(1)) * 100_000_000]
    garbage.append(garbage)
    del garbage
    try:
        assert Counter(fuzz.trial("faulty", files=2, seed=0)) == {"read": 1, "over memory": 1}
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "rows",
    [
        [{"file": "a", "emotion": None}],
        [{"file": "b", "error": "x"}, {"file": "a", "emotion": "sad"}],
        [{"file": "a", "emotion": "sad"}, {"file": "b", "error": ""}],
    ],
)
def test_answers_without_a_row_or_a_reason_for_a_file_are_no_answers(rows):
    with pytest.raises(ValueError, match="want"):
        fuzz._fates(rows, ["a", "b"])


def test_each_way_reads_and_refuses_files():
    for way in ("prepare", "serve", "page"):
        found = Counter(fuzz.trial(way, files=12, seed=0))
        assert set(found) == {"read", "refused"} and found.total() == 12
