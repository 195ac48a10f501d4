"""What is timed: one script a question, run from the repository's root as `python -m benchmarks.<script>`."""
