"""Trains small T5 models for query reformulation: from texts and pairs to a checkpoint."""
