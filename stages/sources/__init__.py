"""A corpus on disk: its folder, its audio files, and the words in which people label speech.

May import `running` and `settings` only.
"""
