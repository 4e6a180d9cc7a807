"""The benchmark for small computers, on a small graph."""

import pytest

from benchmarks.embedded import measure


def test_a_file_is_measured_alone(exported):
    alone, found = measure(), measure(str(exported))
    assert alone["ms_3s_cpu"] is None and found["ms_3s_cpu"] > 0 and found["load_ms"] > 0
    assert found["peak_mb"] > alone["peak_mb"] > 10


def test_a_file_that_cannot_be_run_is_named(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no graph")
    with pytest.raises(ValueError, match=r"x\.onnx: cannot be run: .*"):
        measure(str(tmp_path / "x.onnx"))
