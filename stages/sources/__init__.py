"""A corpus on disk: where it lies, its audio files, and the words in which people label speech.

May import `running` only.
"""
