"""The takeover of docs/recovery.md: a primary dies, its standby is promoted, the sale goes on."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from flashsale.domain.outcomes import Status
from tests.cli.test_repairs import Operator
from tests.recovery.pair import Pair, open_pair
from tests.recovery.test_protocol import Dying, KilledError
from tests.recovery.ward import Ward, open_ward

_ORDERS = "SELECT id, state, buyer_id, quantity FROM orders ORDER BY id"
_CONFIRMED = "SELECT buyer_id FROM orders WHERE state = 'confirmed' ORDER BY buyer_id"


@pytest.fixture
async def pair(redis_db):
    async with open_pair() as opened:
        yield opened


async def _confirmed(ward: Ward) -> list[str]:
    return [row["buyer_id"] for row in await ward.pool.fetch(_CONFIRMED)]


async def _go_on(after: Ward, before: Ward) -> None:
    """The sale that was running when the primary died."""
    after.merchant, after.sale = before.merchant, before.sale
    await after.look_again()


async def test_a_synchronous_standby_has_every_confirmed_order(pair: Pair, redis_url):
    await pair.wait_for_standby()
    async with open_ward(pair.primary.dsn, redis_url) as before:
        kept = await before.reserve("ada", 2)
        await before.cancel(await before.reserve("bo"), "bo")
        await before.settle()
        answered = await before.pool.fetch(_ORDERS)
        # Without its standby nothing more is confirmed, though selling goes on.
        await pair.kill(pair.standby)
        await before.reserve("cid")
        settling = asyncio.create_task(before.settle())
        await pair.somebody_waits_for_standby()
        assert not settling.done()
        await pair.kill(pair.primary)
        with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
            await settling
    await pair.start_standby()
    await pair.promote()
    async with open_ward(pair.standby.dsn, redis_url) as after:
        await _go_on(after, before)
        assert await after.pool.fetch(_ORDERS) == answered
        # What was not confirmed is where it was: nothing has to be recovered.
        assert await after.faults() == []
        await after.settle()
        assert await _confirmed(after) == ["ada", "cid"]
        assert await after.broken() == set()
        assert (await after.ask(kept, "ada", 2)).status is Status.REPLAYED


async def test_what_an_asynchronous_standby_missed_is_found_and_settled_again(
    pair: Pair, redis_url
):
    async with open_ward(pair.primary.dsn, redis_url) as before:
        await before.reserve("ada", 2)
        await before.settle()
        await pair.caught_up()
        await pair.kill(pair.standby)  # it is as far behind as one that is too slow
        gone = await before.reserve("bo")
        await before.settle()  # confirmed, and trimmed off the stream
        before.worker.trim = _nothing
        await before.reserve("cid", 2)
        await before.settle()  # confirmed a moment ago: the stream still has it
        assert await _confirmed(before) == ["ada", "bo", "cid"]
        await pair.kill(pair.primary)
    await pair.start_standby()
    await pair.promote()
    async with open_ward(pair.standby.dsn, redis_url) as after:
        await _go_on(after, before)
        operator, sale = Operator(pair.standby.dsn, redis_url), after.sale.id
        # The control: a standby that nobody waits for has lost two confirmed orders, and nothing
        # brings them back by itself.
        await after.settle()
        assert await _confirmed(after) == ["ada"]
        audit = await operator("audit", sale)
        assert audit.code == 1
        assert "INV-15" in audit.printed

        recovered = await operator("recover", sale)

        assert (recovered.code, recovered.said) == (0, "")
        assert "2 orders, 4 units held or sold, 1 entries lost" in recovered.printed
        await after.look_again()
        assert await _confirmed(after) == ["ada", "cid"]
        assert (await operator("audit", sale)).code == 0
        # Bo is told so, and may ask again.
        assert after.sale.may_have_lost
        assert (await after.ask(gone, "bo")).status is Status.RESERVED


@pytest.mark.parametrize("begun", [False, True])
async def test_a_recovery_whose_end_the_standby_missed_is_made_anew(pair: Pair, redis_url, begun):
    """Redis is then of a later epoch than Postgres has ever heard of."""
    async with open_ward(pair.primary.dsn, redis_url) as before:
        await before.reserve("ada", 2)
        await before.settle()
        if begun:
            with pytest.raises(KilledError):
                await before.recover(Dying(before.rebuilder, 2, after=True))
        await pair.caught_up()
        await pair.kill(pair.standby)
        await before.recover()
        await before.recover()
        await pair.kill(pair.primary)
    await pair.start_standby()
    await pair.promote()
    async with open_ward(pair.standby.dsn, redis_url) as after:
        await _go_on(after, before)
        assert after.sale.epoch == 1 + begun
        assert [fault.sale for fault in await after.faults()] == [after.sale.id]
        assert (await after.recover()).epoch == 4
        assert await after.faults() == []
        assert await after.broken() == set()


async def _nothing(*_: object) -> None:
    pass
