"""Synthetic speech, and the demo corpora made of it.

It imports nothing else of this project.
"""
