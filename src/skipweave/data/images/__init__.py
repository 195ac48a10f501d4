"""Image files: search and decoding."""
