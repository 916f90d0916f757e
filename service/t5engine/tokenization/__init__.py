"""Texts to token ids as transformers' T5 tokenizers do it, in Python.

llama.cpp's tokenizer is faster, and is used where it gives the same ids.
"""
