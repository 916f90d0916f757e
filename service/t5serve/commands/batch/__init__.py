"""`t5serve batch`: reformulates a file of queries, and continues where it was killed."""
