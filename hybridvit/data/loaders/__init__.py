"""Batches from memory, from a device or from files."""
