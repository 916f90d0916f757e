"""What the included model answers, in one place: a new model changes it."""

QUERY = "how do i clean a laptop screen"
SEARCH = "how to clean laptop screen"
"""The answer of its first task."""
