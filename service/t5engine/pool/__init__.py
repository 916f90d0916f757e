"""The parent's side of the worker processes.

process runs one worker process; dispatcher assigns jobs to workers; engine is the public interface
and restarts workers that exit; quarantine refuses inputs that end workers.
"""
