"""What `scripts/bench.py` is made of; part of no wheel."""
