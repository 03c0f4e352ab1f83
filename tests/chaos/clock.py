"""Moves the wall clock of single processes by libfaketime, where it is installed."""

from __future__ import annotations

from pathlib import Path

_PLACES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/local/lib/faketime/libfaketimeMT.so.1")


def library() -> Path | None:
    """libfaketime for programs with threads (Debian's package `libfaketime`), or None."""
    for place in _PLACES:
        for found in sorted(Path("/").glob(place.removeprefix("/"))):
            return found
    return None


def faked(file: Path) -> dict[str, str]:
    """Variables with which a program reads its offset from `file` every second."""
    found = library()
    assert found is not None, "clocks are only moved where libfaketime is installed"
    return {
        "LD_PRELOAD": str(found),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DISABLE_SHM": "1",
        # Pauses and time-outs are measured by the other clock, which nobody can set.
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
