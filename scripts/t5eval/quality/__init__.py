"""The modules of `scripts/quality.py`: what a model's answers are worth to a search."""
