"""Which fault comes when: drawn from a seed, carried out, written down. It knows no fault."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.chaos.clock import library
from tests.chaos.faults import FAULTS
from tests.chaos.kept import now_ms
from tests.chaos.world import World

#: Faults begin after the first orders, and each this long after the one before.
_FIRST_MS = 1_000
_GAP_MS = (1_000, 4_000)
#: A run as long as this has faults as long as they are described.
_WHOLE_SECONDS = 60
_PATIENCE_SECONDS = 45
#: What a fault says that found nothing to hurt.
_IN_VAIN = frozenset({"nobody came by", "nothing was written", "it was down"})


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault to come, `at_ms` after the start."""

    at_ms: int
    fault: str
    args: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.at_ms / 1000:5.1f} s  {self.fault} {json.dumps(self.args)}"


def draw(seed: int, seconds: float, only: Sequence[str] = ()) -> list[Planned]:
    """The schedule of a seed, the same at every call and on every machine."""
    random = Random(f"schedule {seed}")
    names = sorted(only or FAULTS)
    weights = [FAULTS[name].weight for name in names]
    scale = min(1.0, seconds / _WHOLE_SECONDS * 2)
    planned = []
    at_ms = _FIRST_MS
    while at_ms < seconds * 1000:
        (name,) = random.choices(names, weights)
        if FAULTS[name].once and any(each.fault == name for each in planned):
            name = "kill_settle" if "kill_settle" in names else names[0]
        planned.append(Planned(at_ms, name, FAULTS[name].draw(random, scale)))
        at_ms += random.randint(*_GAP_MS)
    return planned


def moves_clocks(planned: Iterable[Planned]) -> bool:
    """Whether the processes must be started with clocks that can be moved."""
    return library() is not None and any(FAULTS[each.fault].moves_clocks for each in planned)


async def carry_out(world: World, planned: Sequence[Planned], began_ms: int) -> list[dict]:
    """Every fault at its time; they may overlap. Returns what was done, for `run.json`."""
    done: list[dict[str, Any]] = []
    async with asyncio.TaskGroup() as group:
        for each in planned:
            await asyncio.sleep(max(0.0, (began_ms + each.at_ms - now_ms()) / 1000))
            group.create_task(_carry_out(world, each, done))
    return sorted(done, key=lambda line: line["at_ms"])


async def _carry_out(world: World, each: Planned, done: list[dict[str, Any]]) -> None:
    kind = FAULTS[each.fault]
    line: dict[str, Any] = {"at_ms": now_ms(), "fault": each.fault, "args": each.args}
    line |= {"lossy": kind.loses, "done_ms": None, "note": "", "struck": False}
    done.append(line)
    if kind.moves_clocks and library() is None:
        line["note"] = "not done: libfaketime is not installed"
    else:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                line["note"] = await kind.run(world, each.args)
            line["struck"] = line["note"] not in _IN_VAIN
        except Exception as error:  # noqa: BLE001 - one that meets another counts
            line["note"] = f"{type(error).__name__}: {error}"[:200]
    line["done_ms"] = now_ms()
