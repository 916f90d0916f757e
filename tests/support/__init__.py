"""Helpers of the tests: fakes, tiny checkpoints, servers to start and stop."""
