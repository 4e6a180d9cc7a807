"""What params.yaml says: read, checked before any work, and turned into the objects it names.

It imports `running` alone.
"""
