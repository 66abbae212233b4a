"""Benchmarks: each figure is a ratio to a baseline that ran in the same minutes (`make bench`)."""
