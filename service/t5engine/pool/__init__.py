"""The parent's side of the worker processes.

process is one running worker; dispatcher gives jobs to workers; engine is what callers ask, and
starts anew the workers that die; quarantine refuses inputs that end workers.
"""
