"""Image files, found and decoded."""
