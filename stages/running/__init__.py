"""How every stage starts and ends: settings, checks, resources, worker processes and outputs.

It imports nothing else of this project.
"""
