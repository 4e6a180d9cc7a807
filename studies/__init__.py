"""Studies: programs that train or compare several models, based on the last run of the pipeline.

May import the folders of `stages`, but neither its entry modules nor `app`.
"""
