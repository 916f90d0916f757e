"""What the included model answers, in one place: a new model changes it."""

QUERY = "how do i clean a laptop screen"
SEARCH = "laptop screen cleaning"
"""The answer of its first task."""
