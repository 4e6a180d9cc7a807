"""What every command starts and ends with: its outputs, its life time, memory and disk.

Everything may import this folder, which imports nothing else of the project.
"""
