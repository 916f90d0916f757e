"""The service's side of the worker processes.

config says what a worker is; process is one running worker; engine queues jobs, gives them to
workers, and starts anew those that die.
"""
