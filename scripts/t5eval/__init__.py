"""What `scripts/evaluate.py` is made of; part of no wheel."""
