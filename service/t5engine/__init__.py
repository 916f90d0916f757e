"""Decodes T5 models from GGUF files in supervised worker processes. No HTTP, no recipes.

pool is the parent's side; worker, graph and kernels run in the child process, the only code that
touches llama.cpp; messages go between the two; decoding turns logits into token ids.
"""
