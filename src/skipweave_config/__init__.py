"""Configurations of skipweave: classes, validation and files. Imports neither torch nor `skipweave`."""
