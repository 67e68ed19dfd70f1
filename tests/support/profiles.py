"""How many examples are invented of each kind; how long one takes says nothing about the code.

For those ``conftest.py`` whose tests have such examples: the import takes a second.
"""

from hypothesis import HealthCheck, settings


def register_profiles() -> None:
    """``modelyard`` is used unless ``--hypothesis-profile`` names another."""
    for profile, examples in (("quick", 5), ("modelyard", 15), ("fuzz", 2000)):
        settings.register_profile(
            profile, max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        )
    settings.load_profile("modelyard")
