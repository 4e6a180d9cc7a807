"""Networks and classical models: one module per option of conf/model.

May import from `learning` (layers, batches, functionals, the learner's interface) and `running`,
but never from `acoustics` or `corpora`.
"""
