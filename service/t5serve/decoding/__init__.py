"""Strategies: logits in, token ids out. No text, no HTTP, no llama.cpp."""
