"""From feature caches and a split to trained models and their predictions.

Holds batches, layers, the training loop and jobs, and the recogniser from waveform to logits.

May import from `metrics`, `splits`, `clips`, `signals`, `audio`, `degradations`, `running`,
`settings` and `parallel`; networks and features are reached only through the `_target_` in their
settings.
"""
