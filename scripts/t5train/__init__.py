"""Trains small T5 models for search-query reformulation: from text and pairs to a checkpoint."""
