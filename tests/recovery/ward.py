"""A running sale whose Redis can be emptied, put back in time and recovered."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from flashsale.domain.lanes import lane_of
from flashsale.domain.outcomes import Decision
from flashsale.recovery.protocol import Recovered, Recovery
from flashsale.recovery.watch import Fault, faults
from flashsale.reservation.links import Links
from flashsale.reservation.rebuilding import LaneRebuilder
from flashsale.reservation.replies import Request
from flashsale.reservation.scripts import ScriptRunner
from flashsale.sales.queries import find_sale
from flashsale.settlement.lane import Pace
from flashsale.settlement.queries import LaneToRead
from flashsale.settlement.worker import SettlementWorker
from tests.reconciliation.scene import SCRIPTS, Scene, open_scene


async def _nothing(*_: object) -> None:
    pass


@dataclass
class Ward(Scene):
    """The scene, with what a recovery needs."""

    rebuilder: LaneRebuilder

    def recovery(self, rebuilder: LaneRebuilder | None = None) -> Recovery:
        nurse = SettlementWorker(
            self.pool,
            self.redis,
            "recovery",
            _nothing,
            _nothing,
            pace=Pace(room_wait_ms=100),
            reclaim_idle_ms=0,
        )

        async def drain(sale: str, lane: int) -> None:
            await (await nurse.lane(LaneToRead(sale, lane))).resettle()

        return Recovery(self.pool, self.store, rebuilder or self.rebuilder, drain)

    async def faults(self) -> list[Fault]:
        return await faults(self.pool, self.store)

    async def recover(self, rebuilder: LaneRebuilder | None = None) -> Recovered:
        done = await self.recovery(rebuilder).recover(self.sale.id, "a test")
        assert done is not None
        await self.look_again()
        return done

    async def look_again(self) -> None:
        """Take the sale as it stands now, its epoch too."""
        sale = await find_sale(self.pool, self.sale.id)
        assert sale is not None
        self.sale = sale

    async def ask(self, order: str, buyer: str, quantity: int = 1) -> Decision:
        """A reservation by name, as a retry sends it."""
        lane = lane_of(buyer, self.sale.lanes)
        request = Request(order, buyer, 0, quantity)
        return (await self.store.reserve(self.sale.id, lane, self.sale.epoch, [request]))[0]

    async def keep_disk(self) -> dict[str, bytes]:
        """Everything that Redis holds."""
        keys = await self.redis.keys("*")
        return {
            key: await self.redis.execute_command("DUMP", key, NEVER_DECODE=True) for key in keys
        }

    async def put_back(self, disk: dict[str, bytes]) -> None:
        """Redis as it was: what a restart with an older disk brings."""
        await self.redis.flushdb()
        for key, value in disk.items():
            await self.redis.execute_command("RESTORE", key, 0, value)

    async def live(self) -> int:
        """Live units of the first item, as Postgres counts them."""
        sql = "SELECT live FROM sale_items WHERE sale_id = $1 AND item = 0"
        return int(await self.pool.fetchval(sql, self.sale.id))


@contextlib.asynccontextmanager
async def open_ward(dsn: str, redis_url: str, **changes) -> AsyncIterator[Ward]:
    async with open_scene(dsn, redis_url, **changes) as scene:
        links = Links(scene.redis)
        yield Ward(**vars(scene), rebuilder=LaneRebuilder(ScriptRunner(links, SCRIPTS)))
        await links.close()
