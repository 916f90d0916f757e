"""The engines to compare. Each runs in a separate process, `t5bench.child`."""
