"""Benchmarks: one script per question, run from the root of the repository as `python -m benchmarks.<script>`."""
