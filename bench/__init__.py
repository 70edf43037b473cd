"""Benchmarks: ours beside its peers, answers compared before they are timed."""
