"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# A deadline is a timed assertion: it fails for nothing on a busy machine.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
