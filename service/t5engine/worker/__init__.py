"""The child process of the engine.

__main__ pins the process and connects it to the service. loop receives messages and runs decoding
steps. job is one generation. model loads a file for a backend. vocabulary converts text to ids and
back.
"""
