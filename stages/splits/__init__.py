"""Splits: emotions mapped to labels, clips assigned to folds, and proof that nothing leaks.

May import `clips`, `sources`, `running` and `settings`; protocols build on it.
"""
