"""From a model's name to its verified files: hub -> part -> hash -> place -> lock -> GGUF."""
