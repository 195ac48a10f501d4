"""The C library, and its calls as functions of torch."""
