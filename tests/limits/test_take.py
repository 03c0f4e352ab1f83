"""lua/limits/take.lua on a real server: pots, their keys, and races that a naive way loses."""

from __future__ import annotations

import asyncio
import random

import pytest
from luaparser import ast
from redis.asyncio import Redis

from flashsale.limits.gcra import Rate, take
from flashsale.reservation.keys import limit_key
from flashsale.reservation.scripts import ScriptRunner
from tests.limits.conftest import SCRIPTS

#: A unit in a thousand seconds: nothing comes back while a test runs.
SLOW = Rate(milli=1, burst=10)
POT = limit_key("buyer", "mer_a:ann")


async def ask(runner: ScriptRunner, *asks: tuple[str, Rate, int]) -> list[tuple[int, int]]:
    """Grants and waits, in the order of the asks."""
    arguments = [number for _, rate, asked in asks for number in (*rate, asked)]
    status, *reply = await runner.run("take", [key for key, _, _ in asks], arguments)
    assert status == "DONE"
    return list(zip(reply[::2], reply[1::2], strict=True))


async def now_us(client: Redis) -> int:
    seconds, microseconds = await client.time()
    return seconds * 1_000_000 + microseconds


async def test_a_pot_is_taken_from_until_it_is_empty(runner, client):
    assert await ask(runner, (POT, SLOW, 4)) == [(4, 0)]
    kept = await client.get(POT)
    assert 3_990_000 < await client.pttl(POT) <= 4_000_000
    ((granted, wait),) = await ask(runner, (POT, SLOW, 8))
    assert granted == 6
    assert 990_000_000 < wait <= 1_000_000_000
    assert int(await client.get(POT)) == pytest.approx(int(kept) + 6 * 10**9)


async def test_a_refusal_changes_nothing(runner, client):
    await ask(runner, (POT, SLOW, 10))
    before = await client.get(POT)
    for _ in range(5):
        ((granted, wait),) = await ask(runner, (POT, SLOW, 1))
        assert (granted, wait > 0) == (0, True)
    assert await client.get(POT) == before


async def test_one_call_decides_many_and_each_on_its_own(runner, client):
    asks = [(limit_key("buyer", f"mer_a:{number}"), SLOW, number) for number in range(1, 14)]
    granted = [grant for grant, _ in await ask(runner, *asks)]
    assert granted == [min(number, 10) for number in range(1, 14)]
    assert await client.dbsize() == 13


async def test_one_pot_named_twice_is_one_pot(runner):
    assert [grant for grant, _ in await ask(runner, (POT, SLOW, 7), (POT, SLOW, 7))] == [7, 3]


async def test_every_key_expires_when_its_pot_is_full(runner, client):
    for number in range(50):
        await ask(runner, (limit_key("address", f"10.0.0.{number}"), Rate(1000, 5), 9))
    keys = [key async for key in client.scan_iter()]
    assert len(keys) == 50
    assert all([0 < await client.pttl(key) <= 5_001 for key in keys])
    quick = limit_key("address", "10.0.0.99")
    await ask(runner, (quick, Rate(10**9, 1), 1))
    while await client.exists(quick):  # a pot that fills in a microsecond is gone in a millisecond
        await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        (1, 10),
        (1, 10, 1, 1),
        (0, 10, 1),
        (1, 0, 1),
        (1, 10, 0),
        (1, 10, -1),
        ("nan", 10, 1),
        (1, "inf", 1),
        (1, 10, "1.5"),
        (1, 10, "2000000000"),
        ("x", 10, 1),
    ],
)
async def test_what_is_no_number_is_refused_before_anything_is_written(runner, client, arguments):
    assert await runner.run("take", [POT], arguments) == ["BAD_ARGUMENT"]
    assert await client.dbsize() == 0


async def test_it_does_what_the_arithmetic_says(runner, client):
    """Seeded asks of many rates, each between what the model says just before and just after."""
    chance = random.Random(2014)
    pots = {
        limit_key("buyer", str(number)): Rate(
            chance.choice([1, 999, 18_000, 10**6, 10**9]), chance.choice([1, 2, 40, 10**4])
        )
        for number in range(20)
    }
    seen = set()
    for _ in range(600):
        key, rate = chance.choice(list(pots.items()))
        asked = chance.choice([1, 1, 2, 30, 5000])
        tat = int(await client.get(key) or 0)
        earliest = await now_us(client)
        ((granted, wait),) = await ask(runner, (key, rate, asked))
        latest = await now_us(client)
        low, high = take(tat, earliest, asked, rate), take(tat, latest, asked, rate)
        assert low.granted <= granted <= high.granted
        if low.granted == high.granted:
            assert high.wait_us <= wait <= low.wait_us
        seen.add((granted == 0, granted == asked))
    assert seen == {(True, False), (False, True), (False, False)}


UNITS, ASKERS = 10, 40


async def test_many_askers_of_one_pot_get_what_is_in_it(runner):
    answers = await asyncio.gather(*(ask(runner, (POT, SLOW, 1)) for _ in range(ASKERS)))
    assert sum(granted for ((granted, _),) in answers) == UNITS


async def test_looking_first_and_writing_then_lets_more_through(client):
    """The control: the same arithmetic in two calls; all have looked before anybody writes."""
    everybody_has_looked = asyncio.Barrier(ASKERS)

    async def naively() -> int:
        tat, now = int(await client.get(POT) or 0), await now_us(client)
        await everybody_has_looked.wait()
        taken = take(tat, now, 1, SLOW)
        await client.set(POT, taken.tat_us)
        return taken.granted

    assert sum(await asyncio.gather(*(naively() for _ in range(ASKERS)))) == ASKERS > UNITS


def test_it_is_lua_of_the_house():
    """As `tests/lua` holds the scripts of lanes: a flag line, no other clock, no chance."""
    (script,) = SCRIPTS.values()
    shebang, _, source = script.source.partition("\n")
    assert shebang == "#!lua"
    ast.parse(source)
    assert source.count("'TIME'") == 1
    assert "random" not in source
    # Nothing is checked once something is written.
    assert "BAD_ARGUMENT" not in source[source.index("redis.call('TIME')") :]
