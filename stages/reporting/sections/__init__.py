"""Sections of a run's report: one module per subject, with its tables, figures and template.

A module defines `section(run)` and imports the shared modules of `reporting`, not other sections;
`report.SECTIONS` puts them in order.
"""
