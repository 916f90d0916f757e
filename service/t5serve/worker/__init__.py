"""The child process: the only code of the service that touches llama.cpp.

__main__ pins the process and connects it; loop takes messages and advances jobs; job is one
generation; llama is the backend; vocabulary turns text into ids and back.
"""
