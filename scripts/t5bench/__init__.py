"""The modules of `scripts/bench.py`; not part of the wheel."""
