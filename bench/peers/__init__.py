"""The peers of the benchmarks, each a program of its own in the environment it needs."""
