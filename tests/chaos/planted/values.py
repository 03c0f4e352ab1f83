"""What a planted bug is: changed script lines, other functions, and the run that brings it out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from flashsale.reservation import scripts


class Edit(NamedTuple):
    """One line of `lua/` as it is and as it is to be; the loader of this process sees the other."""

    file: str
    before: str
    after: str

    def install(self) -> None:
        """Change what the loader reads from now on."""
        original = scripts._expand

        def changed(path: Path, *more: Any) -> list[tuple[str, str]]:
            return [
                (self.after if self.matches(line, origin) else line, origin)
                for line, origin in original(path, *more)
            ]

        scripts._expand = changed

    def matches(self, line: str, origin: str) -> bool:
        """Whether this is the line; an included one comes by twice and is changed once."""
        return origin.partition(":")[0] == self.file and line.strip() == self.before


class Fault(NamedTuple):
    """A fault of the runner's, `at_ms` after the start."""

    at_ms: int
    fault: str
    args: dict[str, Any] = {}  # noqa: RUF012 - never changed


#: Money comes when others have long had the units.
LATE_MONEY = (Fault(300, "callbacks", {"switches": {"delay_ms": 7500}, "ms": 9000}),)


@dataclass(frozen=True, slots=True)
class Bug:
    """`breaks`: any of these shows that it was caught. `faults`, `seconds`: a run that does it.

    `units` of each SKU, where it takes a sale that sells out; else the runner's own number.
    """

    name: str
    what: str
    breaks: frozenset[str]
    seconds: float = 6
    faults: tuple[Fault, ...] = ()
    units: int | None = None
    edits: tuple[Edit, ...] = ()
    patches: tuple[Callable[[], None], ...] = ()
