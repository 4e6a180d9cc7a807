"""Classification metrics, calibration and confidence intervals, as functions of arrays.

Imports no other folder of the project.
"""
