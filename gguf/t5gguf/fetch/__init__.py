"""Fetches a model by name: download parts, verify hashes, place files, pin, convert to GGUF."""
