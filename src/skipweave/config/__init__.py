"""Plain values, as people and files give them, checked: types and ranges, every mistake in one message."""
