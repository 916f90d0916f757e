"""Reranking: documents in the order of their relevance for a query."""
