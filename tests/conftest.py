"""Settings of all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# Test files share the cores, and so do the workers that they start. Without this variable a thread
# of OpenMP that waits for another one keeps its core busy for milliseconds, hundreds of times a
# step. libgomp reads the variable when it is loaded, here and in the processes that tests start.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# A deadline is a timed assertion: it fails for nothing on a busy machine.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
