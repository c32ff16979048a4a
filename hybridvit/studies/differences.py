"""What sets one configuration apart from another, field by field and in words."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any

ABSENT = "absent"  # a task or a name that one side does not have


@dataclass(frozen=True)
class Difference:
    """One field that two configurations do not share.

    Attributes:
        field: its path, as a flag names it.
        before: its value on one side; "absent" where that side has no such entry.
        after: its value on the other.
    """

    field: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.field} {in_words(self.before)} → {in_words(self.after)}"


def differences(before: Any, after: Any, path: str = "") -> tuple[Difference, ...]:
    """The fields that differ, in the order they are declared; a part that is of another kind counts as one field."""
    if before == after and type(before) is type(after):
        return ()
    if is_dataclass(before) and type(before) is type(after):
        pairs = {part.name: (getattr(before, part.name), getattr(after, part.name)) for part in fields(before)}
    elif isinstance(before, dict) and isinstance(after, dict):
        pairs = {key: (before.get(key, ABSENT), after.get(key, ABSENT)) for key in {**before, **after}}
    else:
        return (Difference(path, before, after),)
    found = [differences(ours, theirs, f"{path}.{name}" if path else name) for name, (ours, theirs) in pairs.items()]
    return tuple(difference for part in found for difference in part)


def in_words(value: Any) -> str:
    """A value as a person writes it; of a configuration its kind and what is not at its default."""
    if is_dataclass(value):
        said = [f"{name} {in_words(part)}" for name, part in changed_fields(value).items()]
        kind = getattr(value, "kind", "")
        return f"{kind} ({', '.join(said)})" if kind and said else kind or ", ".join(said) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {in_words(part)}" for key, part in value.items()) or "none"
    if isinstance(value, tuple):
        return f"({', '.join(in_words(part) for part in value)})"
    return {None: "none", True: "on", False: "off"}[value] if value is None or isinstance(value, bool) else str(value)


def changed_fields(config: Any) -> dict[str, Any]:
    """The fields that are not at their default, without the kind."""
    changed = {}
    for part in fields(config):
        default = part.default_factory() if part.default_factory is not MISSING else part.default
        value = getattr(config, part.name)
        if part.name != "kind" and value != default:
            changed[part.name] = value
    return changed
