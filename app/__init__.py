"""Using what the pipeline trained: python -m app.<name>."""
