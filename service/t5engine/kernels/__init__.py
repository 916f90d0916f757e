"""Our own kernels in C, and their loader. Runs in the worker process."""
