"""The commands of `t5serve` besides `serve`."""
