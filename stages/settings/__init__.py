"""What params.yaml says: read, checked before any work, and turned into the objects it names.

Everything but `running` and `parallel` may import this folder, which imports `running` alone.
"""
