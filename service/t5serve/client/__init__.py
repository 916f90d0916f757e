"""A client of the service: retries, deadlines, and the query itself where nothing else comes."""
