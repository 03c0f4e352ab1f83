"""Finds a small schedule that still fails: halves, then single faults. It runs nothing itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

TRIES_MAX = 12
_Item = TypeVar("_Item")
Fails = Callable[[Sequence[_Item], int], Awaitable[bool]]


async def smallest(
    items: Sequence[_Item], fails: Fails[_Item], tries_max: int = TRIES_MAX
) -> list[_Item]:
    """The smallest part of `items` found that still fails, within so many tries.

    `fails(part, number of the try)`; a run is not quite the same twice, so a part that passes by
    luck only leaves the answer larger than it could be (Zeller's ddmin, bounded).
    """
    kept, pieces, tries = list(items), 2, 0
    while len(kept) > 1 and tries < tries_max:
        for part in _without_each(kept, pieces):
            if tries == tries_max:
                break
            tries += 1
            if await fails(part, tries):
                kept, pieces = part, max(pieces - 1, 2)
                break
        else:
            if pieces >= len(kept):
                break
            pieces = min(len(kept), pieces * 2)
    return kept


def _without_each(items: list[_Item], pieces: int) -> list[list[_Item]]:
    """`items` without its first piece, without its second one, and so on."""
    size = -(-len(items) // pieces)
    return [items[:at] + items[at + size :] for at in range(0, len(items), size)]
