"""Networks and classical models: one module per option of conf/model.

May import from `learning` (layers, batches, functionals, the learner's interface), `signals`
(pre-trained layers) and `settings`, but never from `acoustics` or `corpora`.

A module with pre-trained weights says in `ORIGIN` for the model card whose they are.
"""
