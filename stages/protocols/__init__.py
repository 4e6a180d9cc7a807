"""Split protocols: one module per way of saying what each clip is in each fold."""
