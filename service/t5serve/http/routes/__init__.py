"""The HTTP surfaces, one module each."""
