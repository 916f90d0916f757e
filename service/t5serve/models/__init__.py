"""The models that are served, and everything that belongs to one model alone."""
