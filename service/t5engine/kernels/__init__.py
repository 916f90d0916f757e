"""Our own kernels in C, and what loads them. Runs in the worker."""
