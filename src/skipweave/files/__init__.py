"""Atomic writing and locking of files."""
