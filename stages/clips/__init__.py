"""From audio files to clips: one clip table, one audio store, training variants, feature caches.

May import `sources`, `audio`, `running`, `settings` and `parallel`.
"""
