"""Settings of the whole suite."""

import gc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import stages  # noqa: F401  one thread per process, said before anything imports torch
from tests.support import exported_network

# No test asserts a time, and the same examples are tried on every run.
settings.register_profile(
    "inflect", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("inflect")
#: Files whose tests are all slow, the longest first. They begin, so that no process is left with
#: one of them at the end. Elsewhere a test of more than a second is marked as slow.
SLOW = (
    "test_pipeline",
    "test_report",
    "test_learning",
    "test_workers",
    "test_tune",
    "test_web",
    "test_page",
    "test_export",
    "test_leakage",
    "test_compare",
    "test_ablation",
    "test_ensemble",
    "test_newcomer",
    "test_voices",
)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import a slow file for nothing."""
    unwanted = config.option.markexpr == "not slow" and collection_path.stem in SLOW
    return True if unwanted else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow, and begin with it."""
    order = {name: place for place, name in enumerate(SLOW)}
    for item in items:
        if item.path.stem in order:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: order.get(item.path.stem, len(SLOW)))


def pytest_collection_finish() -> None:
    """Spare the garbage collector what the imports have made, which stays until the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A small untrained network as a graph, in a file."""
    path = tmp_path_factory.mktemp("exported") / "small.onnx"
    path.write_bytes(exported_network())
    return path
