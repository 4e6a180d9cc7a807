"""Corpus readers: one module per corpus turns its file names into rows of the clip table.

May import `sources` only.
"""
