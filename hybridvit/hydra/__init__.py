"""HydraNet: one shared backbone with many heads, several cameras, and methods that balance the tasks."""
