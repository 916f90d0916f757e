"""Turns a Hugging Face T5 checkpoint into GGUF files, and proves that each is right.

load (checkpoint, vocab) -> match (tensor_map) -> write (quantize, writer) -> verify.
"""
