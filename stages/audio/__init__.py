"""From a file to the samples of one clip: decoding, conditioning, segments, and the audio store.

The folder imports `settings` alone and no torch, so that processes that only decode start quickly.
"""
