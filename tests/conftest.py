"""Settings of the whole suite."""

import pytest
from hypothesis import HealthCheck, settings

import stages  # noqa: F401  one thread per process, said before anything imports torch
from tests.support import exported_network

# No test asserts a time, and the same examples are tried on every run.
settings.register_profile(
    "inflect", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("inflect")


def pytest_collection_modifyitems(items: list) -> None:
    """Begin with the longest file: side by side, the others end while it runs."""
    items.sort(key=lambda item: item.path.stem != "test_pipeline")


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A small untrained network as a graph, in a file."""
    path = tmp_path_factory.mktemp("exported") / "small.onnx"
    path.write_bytes(exported_network())
    return path
