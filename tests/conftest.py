"""Settings of the whole suite."""

from hypothesis import HealthCheck, settings

import stages  # noqa: F401  one thread per process, said before anything imports torch

# No test asserts a time, and the same examples are tried on every run.
settings.register_profile(
    "inflect", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("inflect")


def pytest_collection_modifyitems(items: list) -> None:
    """Begin with the longest file: side by side, the others end while it runs."""
    items.sort(key=lambda item: item.path.stem != "test_pipeline")
