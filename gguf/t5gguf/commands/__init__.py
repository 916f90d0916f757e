"""The commands of `t5gguf`."""
