"""Split protocols: each module assigns every clip a part (train, validation, test) in each fold.

May import `splits` and `sources` only.
"""
