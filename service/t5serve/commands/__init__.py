"""What `t5serve` does in a terminal, besides serving."""
