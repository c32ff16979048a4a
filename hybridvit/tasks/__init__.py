"""Tasks: each a head, a loss, a metric and the name of its target column."""
