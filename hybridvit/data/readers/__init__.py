"""Readers of what people have on disk: folders, tables and arrays."""
