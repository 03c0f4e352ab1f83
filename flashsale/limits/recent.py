"""A bounded table of whoever was seen lately; what is old falls out of it without being searched.

Two generations: new entries go into the young one, and once it is full it becomes the old one,
whose place it takes. Nothing is moved and nothing is swept, so an entry costs the same whatever
the size, and a flood of new names cannot make the table grow.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """At most `entries_max` entries; the newest half of these many is always there."""

    __slots__ = ("_half", "_old", "_young")

    def __init__(self, entries_max: int) -> None:
        self._half = max(1, entries_max // 2)
        self._young: dict[Key, Value] = {}
        self._old: dict[Key, Value] = {}

    def get(self, key: Key) -> Value | None:
        """What was put there last, where it is not forgotten."""
        found = self._young.get(key)
        return self._old.get(key) if found is None else found

    def put(self, key: Key, value: Value) -> None:
        """Remember a value, as the newest."""
        self._young[key] = value
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
