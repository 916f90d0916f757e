"""T5 as ggml graphs: encoder, decoder, caches, weights; the bindings to ggml. Worker only."""
