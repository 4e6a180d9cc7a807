"""Splits: emotions mapped to labels, clips assigned to folds, and proof that nothing leaks.

May import `clips`, `sources` and `running`; protocols build on it.
"""
