"""Turns logits into token ids. No text, no HTTP, no llama.cpp."""
