"""The served models, and the state that belongs to a single model."""
