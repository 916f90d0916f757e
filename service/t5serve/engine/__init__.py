"""The service's side of the worker processes.

config says what a worker is; process is one running worker; dispatcher gives jobs to workers;
engine is what the service asks, and starts anew the workers that die.
"""
