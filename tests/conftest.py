"""Settings of the whole suite: hypothesis draws the same examples on every run."""

from hypothesis import settings

settings.register_profile("xentrs", deadline=None, derandomize=True, database=None, max_examples=100)
settings.load_profile("xentrs")
