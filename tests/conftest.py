"""Settings of all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# Test files share the cores, and so do the workers that they start. By default a thread of OpenMP
# or OpenBLAS that waits for another one keeps its core busy for milliseconds, hundreds of times a
# step. Both libraries read these when they are loaded, here and in the processes that tests start.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# A deadline is a timed assertion: it fails for nothing on a busy machine.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
