"""Serves T5 models as GGUF on an ordinary CPU, to reformulate search queries."""

__version__ = "0.1.0"
