"""The runner's own parts: schedules are repeatable, shrinking finds the cause, wires do as told."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from tests.chaos import shrink
from tests.chaos.faults import FAULTS
from tests.chaos.process import AFTER_SCRIPT, POINTS
from tests.chaos.proxy import Proxy
from tests.chaos.schedule import draw
from tests.chaos.world import ROOT

ANSWER = b"+" + b"x" * 998 + b"\n"


def test_a_seed_is_a_schedule():
    for seed in range(20):
        planned = draw(seed, 60)
        assert planned == draw(seed, 60)
        gaps = [b.at_ms - a.at_ms for a, b in itertools.pairwise(planned)]
        assert all(1_000 <= gap <= 4_000 for gap in gaps)
        assert planned[-1].at_ms < 60_000
    assert draw(1, 60) != draw(2, 60)


def test_every_fault_is_drawn_by_some_seed():
    drawn = {each.fault for seed in range(60) for each in draw(seed, 60)}
    assert drawn == {name for name, kind in FAULTS.items() if kind.weight}


def test_a_run_may_have_one_kind_of_fault_only():
    assert {each.fault for each in draw(3, 60, ["delay", "reset"])} == {"delay", "reset"}


async def test_shrinking_finds_the_two_that_do_it_together():
    tried = []

    async def fails(part, number: int) -> bool:
        tried.append(list(part))
        assert number == len(tried)
        return {3, 11} <= set(part)

    assert await shrink.smallest(range(16), fails, tries_max=60) == [3, 11]
    assert all(each for each in tried)


async def test_shrinking_ends_and_keeps_what_it_cannot_do_without():
    count = 0

    async def never(part, number: int) -> bool:
        nonlocal count
        count += 1
        return False

    assert await shrink.smallest(range(20), never, tries_max=7) == list(range(20))
    assert count == 7


def test_the_points_are_where_the_engine_still_is():
    """A script or method that was renamed would leave a fault that never strikes."""
    assert len(set(POINTS)) == len(POINTS)
    assert set(AFTER_SCRIPT.values()) < set(POINTS)
    assert set(AFTER_SCRIPT) <= {path.stem for path in (ROOT / "lua").glob("*.lua")}
    # In a program of its own: what is installed stays installed.
    tried = subprocess.run(
        [sys.executable, "-c", "from tests.chaos.process import install; install()"],
        capture_output=True,
        check=False,
        text=True,
        cwd=ROOT,
    )
    assert tried.returncode == 0, tried.stderr


@pytest.fixture
async def wire() -> AsyncIterator[Proxy]:
    """A proxy in front of a server that answers every line with a thousand bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(ANSWER)
        writer.close()

    with tempfile.TemporaryDirectory() as folder:
        server_at = Path(folder) / "server"
        server = await asyncio.start_unix_server(serve, server_at)
        async with Proxy(Path(folder) / "way" / "proxy", server_at).listening() as proxy:
            yield proxy
        server.close()


async def ask(wire: Proxy) -> bytes:
    reader, writer = await asyncio.open_unix_connection(wire.listens_at)
    try:
        writer.write(b"?\n")
        return await reader.read() if wire.halved else await reader.readline()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_a_healthy_wire_changes_nothing(wire: Proxy):
    assert await ask(wire) == ANSWER


async def test_a_halved_reply_ends_in_the_middle_once(wire: Proxy):
    wire.halved = 1
    assert len(await ask(wire)) < len(ANSWER)
    assert wire.halved == 0
    assert await ask(wire) == ANSWER


async def test_a_black_hole_answers_nobody_until_it_is_gone(wire: Proxy):
    wire.black_hole = True
    asked = asyncio.create_task(ask(wire))
    done, _ = await asyncio.wait([asked], timeout=0.05)
    assert not done
    wire.heal()
    assert await asked == ANSWER


async def test_a_reset_cuts_whoever_is_connected(wire: Proxy):
    reader, writer = await asyncio.open_unix_connection(wire.listens_at)
    writer.write(b"?\n")
    assert await reader.readline() == ANSWER
    assert wire.reset() == 1
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()
    assert await ask(wire) == ANSWER


def test_a_drawn_fault_says_all_there_is_to_say():
    for name, kind in FAULTS.items():
        first, second = (kind.draw(Random(name), 1.0) for _ in range(2))
        assert first == second
