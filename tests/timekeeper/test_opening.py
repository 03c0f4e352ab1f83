"""Before a strict sale opens its servers are looked at again: it is paused where they may forget.

The fault is real: a Redis of the test's own that is set to `everysec` after the sale was announced.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from flashsale.domain.outcomes import Status
from flashsale.domain.sales import SaleState
from flashsale.embedded.servers import resolve_servers
from flashsale.reconciliation.doctor import examine
from flashsale.sales import errors, queries
from flashsale.sales.durability import durability_fault
from flashsale.sales.service import SaleService
from flashsale.sales.values import SaleFacts
from flashsale.timekeeper.opening import LEAD, OpeningGuard
from flashsale.timekeeper.timekeeper import Timekeeper
from tests.sales.shop import Shop, now, open_shop, rfc3339


@dataclass
class Guarded:
    """A shop in production mode whose Redis may be set to forget, and its guard."""

    shop: Shop
    redis_url: str
    told: list[tuple[str, str, bool]] = field(default_factory=list)

    @property
    def service(self) -> SaleService:
        return SaleService(self.shop.pool, self.shop.store, now, production=True)

    def guard(self, *, stops: bool = True) -> OpeningGuard:
        async def fault_of() -> str | None:
            return durability_fault(
                await self.shop.store.server(), await queries.server(self.shop.pool)
            )

        return OpeningGuard(
            self.shop.pool,
            self.shop.store,
            fault_of,
            stops=stops,
            on_fault=lambda *told: self.told.append(told),
        )

    async def set(self, appendfsync: str) -> None:
        await self.shop.redis.config_set("appendfsync", appendfsync)

    async def announced(self, ahead: timedelta, **changes) -> SaleFacts:
        draft = await self.shop.draft(starts_at=rfc3339(now() + ahead), **changes)
        return await self.service.schedule(self.shop.merchant, draft.id)

    async def begins_now(self, sale: SaleFacts) -> None:
        """Its instant comes: in Postgres, and in Redis where it is told as ever."""
        await self.shop.set_columns(sale, "starts_at = now() - interval '1 second'")
        facts = await self.shop.service.facts(sale.id)
        await self.shop.store.renew_terms(sale.id, 0, sale.epoch, facts.terms, 1)


@pytest.fixture
async def guarded(schema, new_database, tmp_path) -> AsyncIterator[Guarded]:
    async with (
        new_database(template=schema) as dsn,
        resolve_servers(None, dsn, tmp_path) as servers,
        open_shop(dsn, servers.redis_url) as shop,
    ):
        yield Guarded(shop, servers.redis_url)


async def test_a_sale_that_may_not_be_kept_does_not_open(guarded: Guarded):
    shop = guarded.shop
    sale = await guarded.announced(LEAD / 2)
    await guarded.set("everysec")
    findings = await examine(guarded.redis_url, shop.dsn, connections_max=10)
    (failed,) = (finding for finding in findings if finding.failed)
    assert failed.advice.startswith("CONFIG SET appendfsync always"), "the doctor says what to set"
    guard = guarded.guard()
    await guard.look()
    await guard.look()
    ((told, reason, paused),) = guarded.told
    assert (told, paused, guard.stopped) == (sale.id, True, 1)
    assert "set appendonly yes, appendfsync always" in reason
    facts = await shop.service.facts(sale.id)
    assert (facts.state, facts.paused_reason) == (SaleState.PAUSED, reason)
    await guarded.begins_now(sale)
    assert (await shop.reserve(sale, "ada")).status is Status.PAUSED
    with pytest.raises(errors.UnsafeDurabilityError, match="appendfsync always"):
        await guarded.service.resume(shop.merchant, sale.id)
    await guarded.set("always")
    resumed = await guarded.service.resume(shop.merchant, sale.id)
    assert (resumed.state, resumed.paused_reason) == (SaleState.OPEN, None)
    assert (await shop.reserve(sale, "ada")).status is Status.RESERVED
    logged = await shop.pool.fetchval(
        "SELECT entry::json -> 'detail' ->> 'reason' FROM audit_log"
        " WHERE entry::json ->> 'actor' = 'engine'"
    )
    assert logged == reason


async def test_without_the_guard_it_would_open(guarded: Guarded):
    """The control: nothing else keeps a sale from opening once it is announced."""
    sale = await guarded.announced(LEAD / 2)
    await guarded.set("everysec")
    keeper = Timekeeper(guarded.shop.pool, guarded.shop.store)
    await guarded.begins_now(sale)
    async with guarded.shop.pool.acquire() as session:
        await keeper.act(session)
    assert (await guarded.shop.service.facts(sale.id)).state is SaleState.OPEN
    assert (await guarded.shop.reserve(sale, "ada")).status is Status.RESERVED


async def test_it_cannot_be_announced_on_such_a_server_either(guarded: Guarded):
    await guarded.set("everysec")
    with pytest.raises(errors.UnsafeDurabilityError, match="appendfsync always"):
        await guarded.announced(LEAD / 2)


async def test_development_is_told_and_sells(guarded: Guarded):
    sale = await guarded.announced(LEAD / 2)
    await guarded.set("everysec")
    guard = guarded.guard(stops=False)
    await guard.look()
    await guard.look()
    assert [(told, paused) for told, _, paused in guarded.told] == [(sale.id, False)]
    assert (await guarded.shop.service.facts(sale.id)).state is SaleState.SCHEDULED


async def test_only_strict_sales_that_begin_soon_are_stopped(guarded: Guarded):
    later = await guarded.announced(LEAD * 3)
    relaxed = await guarded.announced(LEAD / 2, durability="relaxed")
    await guarded.set("everysec")
    await guarded.guard().look()
    assert guarded.told == []
    for sale in (later, relaxed):
        assert (await guarded.shop.service.facts(sale.id)).state is SaleState.SCHEDULED


async def test_on_good_servers_nothing_is_stopped(guarded: Guarded):
    sale = await guarded.announced(LEAD / 2)
    await guarded.guard().look()
    assert guarded.told == []
    assert (await guarded.shop.service.facts(sale.id)).state is SaleState.SCHEDULED
