"""Logits in, token ids out: no text, no HTTP, no llama.cpp."""
