"""Signal processing that features share: spectra, compiled kernels and pre-trained encoders.

It may import stages.audio and stages.settings.
"""
