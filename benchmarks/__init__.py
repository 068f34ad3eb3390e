"""Benchmarks: `python -m benchmarks.run`. Not part of the package."""
