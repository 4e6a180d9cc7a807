"""From predictions to the report of a run: metrics, tables, figures and one page.

Imports metrics, learning and the folders below them; the sections of the page are in `sections`.
"""
