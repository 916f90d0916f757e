"""Adapters of search frameworks: each is for a `Reformulator` or a `Client`."""
