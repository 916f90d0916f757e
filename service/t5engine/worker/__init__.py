"""The child process.

__main__ pins the process and connects it; loop takes messages and advances jobs; job is one
generation; model loads a file for a backend; vocabulary turns text into ids and back.
"""
