"""Turns decoded sequences into search queries: prefixes, cleaning, fallback."""
