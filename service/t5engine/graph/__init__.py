"""T5 as ggml graphs: encoder, decoder, caches, weights; ggml's bindings. Runs in the worker."""
