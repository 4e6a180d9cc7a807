"""Fetching corpora: their licences, downloads that resume, checked archives, the DVC alias.

May import `sources` and `running` only.
"""
