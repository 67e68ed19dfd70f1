"""For all tests: how long an example takes says nothing about the code, on a machine that has other things to do."""

from hypothesis import settings

settings.register_profile("modelyard", deadline=None)
settings.load_profile("modelyard")
