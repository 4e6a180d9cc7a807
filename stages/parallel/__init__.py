"""Calls spread over processes or over the workers of a cluster.

It imports `running` alone.
"""
