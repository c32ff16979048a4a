"""``python -m hybridvit.cli``."""

from hybridvit.cli import entry

entry()
