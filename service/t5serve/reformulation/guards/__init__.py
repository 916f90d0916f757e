"""Guards: what of a query must survive in a candidate, and what must not appear."""
