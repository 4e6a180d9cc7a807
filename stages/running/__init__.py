"""What every stage starts and ends with: settings and their checks, outputs, workers, resources.

Everything may import this folder, which imports nothing else of the project.
"""
