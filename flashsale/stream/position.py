"""Stream ids as numbers. Never compare them as text: "10-0" would come before "9-0"."""

from __future__ import annotations

#: Before every entry of a stream.
FIRST_ID = "0-0"


def position(entry_id: str) -> tuple[int, int]:
    """(milliseconds, number within the millisecond) of an entry id."""
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)
