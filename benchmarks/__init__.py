"""Speed and memory, each against a baseline in the same run: python -m benchmarks.<name>."""

import stages  # noqa: F401  before numerical libraries, as it says
