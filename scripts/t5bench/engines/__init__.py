"""The engines that are compared, each used in a process of its own (`t5bench.child`)."""
