"""The modules of `scripts/evaluate.py`; not part of the wheel."""
