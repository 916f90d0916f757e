"""Converts Hugging Face T5 checkpoints to GGUF files, and verifies each file.

load (checkpoint, vocab) -> match (tensor_map) -> write (quantize, writer) -> verify.
"""
