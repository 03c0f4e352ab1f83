"""Settlement by slow and dying workers, lost disks, and the end of a sale's lanes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from flashsale.recovery.protocol import Recovery
from flashsale.recovery.watch import faults
from flashsale.settlement.queries import LaneToRead
from flashsale.settlement.settler import RoomMayComeError, Settler
from flashsale.stream.reader import Delivery, LaneReader
from flashsale.timekeeper import queries as timekeeping
from flashsale.timekeeper.queries import TendedSale
from flashsale.timekeeper.tending import Tending
from tests.model.doings import Doings
from tests.model.shadow import OPEN_ENDED
from tests.model.stage import CHECKOUT_MS


@dataclass
class Disk:
    """Everything that Redis held at an instant, and the entries that were in its stream."""

    values: dict[str, bytes]
    entries: list[int]
    seq: int


@dataclass
class Troubles(Doings):
    """What happens to those who keep what buyers were told."""

    #: Deliveries that workers have read and not settled yet.
    hands: list[tuple[LaneReader, Delivery]] = field(default_factory=list)
    disk: Disk | None = None
    #: The highest entry number that anybody has looked at.
    seen: int = 0

    # Settlement

    async def read(self, worker: str, count: int) -> None:
        """A worker takes some entries, and is slow, or dies."""
        reader = LaneReader(self.world.redis, self.stage.sale.id, 0, worker, deliveries_max=1000)
        delivery = await reader.read_new(count)
        if delivery.size:
            self.hands.append((reader, delivery))

    async def settle(self, number: int, *, acknowledge: bool) -> None:
        """A worker commits what it has read; it may die before it has acknowledged that."""
        if not self.hands:
            return
        reader, delivery = self.hands.pop(number % len(self.hands))
        settler = Settler(self.world.pool)
        catalogue = await settler.catalogue(self.stage.sale.id)
        try:
            settled = await settler.settle(catalogue, 0, delivery, patient=True)
        except RoomMayComeError:
            self.hands.append((reader, delivery))
            return
        assert not settled.rejected
        assert not settled.illegal, settled.illegal
        self.shadow.settle([entry.seq for entry in delivery.entries])
        if acknowledge:
            await reader.acknowledge(delivery.entry_ids)

    async def settle_all(self) -> None:
        """A worker takes up everything, also what others have left."""
        if self.shadow.retired:
            return
        lane = await self.world.worker.lane(LaneToRead(self.stage.sale.id, 0))
        await lane.drain()
        self.shadow.settle(self.shadow.unsettled())

    # Disasters

    async def watch(self) -> None:
        """Somebody looks whether Redis has what was seen of it."""
        if not self.shadow.retired:
            assert await faults(self.world.pool, self.world.store, [self.stage.sale.id]) == []
            self.seen = max(self.shadow.log, default=0)

    async def keep_disk(self) -> None:
        redis, keys = self.world.redis, self.stage.keys
        values = {
            key: await redis.execute_command("DUMP", key, NEVER_DECODE=True)
            for key in await redis.keys("fs:*")
        }
        entries = [int(fields["seq"]) for _, fields in await redis.xrange(keys.events)]
        self.disk = Disk(values, entries, int(await redis.hget(keys.meta, "seq") or 0))

    async def lose(self, how: str) -> None:
        """Redis comes back with nothing, with an older disk, or as it was; it is recovered."""
        if self.shadow.retired:
            return
        redis, disk = self.world.redis, self.disk
        if how == "alive":
            disk = None
            survived = sorted(self.shadow.log.keys() - self.shadow.lost)
            newest = max(self.shadow.log, default=0)
        elif how == "older" and disk is not None:
            survived, newest = disk.entries, disk.seq
        else:
            disk, survived, newest = None, [], 0
        if how != "alive":
            await redis.flushdb()
            for key, value in (disk.values if disk else {}).items():
                await redis.execute_command("RESTORE", key, 0, value)
            await self.world.set_clock(self.stage.sale.id, self.stage.ahead)
        await self._recover()
        survived = [seq for seq in survived if seq in self.shadow.log]
        self.shadow.recover(survived, max(newest, self.seen))
        await self._adopt()

    async def _recover(self) -> None:
        world, sale = self.world, self.stage.sale.id

        async def drain(name: str, lane: int) -> None:
            await (await world.nurse.lane(LaneToRead(name, lane))).resettle()

        recovery = Recovery(world.pool, world.store, world.rebuilder, drain)
        assert await recovery.recover(sale, "a test") is not None
        await self.stage.look_again()
        self.hands, self.disk = [], None
        self.past.add("recovered")
        self.met.add("recovered")

    async def _adopt(self) -> None:
        """Holds go on for a moment longer, capacity is what Postgres says; nothing else changes."""
        shadow, keys = self.shadow, self.stage.keys
        last, now = await self.world.redis.xrevrange(keys.events, count=1), await self._now()
        self.stage.last_id = _before(last[0][0])
        for name, order in shadow.orders.items():
            until = int((await self.world.redis.hget(keys.holds, name)).split(":")[4])
            if order.state == "held":
                longer = order.hold_until < until <= now + CHECKOUT_MS  # its buyer may be paying
                assert until == order.hold_until or longer, "a hold's time was changed"
                shadow.orders[name] = replace(order, hold_until=until, due=until)
            else:  # Postgres knows nothing of time that an earlier recovery has added
                assert until <= order.hold_until
                shadow.orders[name] = replace(order, hold_until=until)
        rows = await self.world.pool.fetch(
            """SELECT i.capacity, coalesce((SELECT sum(quantity) FROM supplies s
                WHERE s.sale_id = i.sale_id AND s.item = i.item AND s.state = 'pending'), 0) AS due
                FROM sale_items i WHERE i.sale_id = $1 ORDER BY i.item""",
            self.stage.sale.id,
        )
        for at, row in enumerate(rows):
            assert shadow.capacity[at] in {row["capacity"], row["capacity"] + row["due"]}
            shadow.capacity[at] = row["capacity"]

    async def retire(self) -> None:
        """The lanes of a sale that is over are removed, once nothing hangs on them."""
        shadow, sale = self.shadow, self.stage.sale
        if shadow.retired or shadow.state not in {"closed", "cancelled"}:
            return
        await self.world.store.trim_events(sale.id, 0)
        tended = TendedSale(sale.id, sale.state, 1, sale.epoch, armed=True, outlived=True)
        did = await Tending(self.world.store, 500).visit(tended, await self._now())
        if did.retired:
            assert not shadow.unsettled(), "INV-9: entries went with their lane"
            assert not any(each.state in OPEN_ENDED for each in shadow.orders.values())
            await timekeeping.mark_retired(self.world.pool, sale.id)
            shadow.retired = True
            self.hands = []
            await self.stage.look_again()
            self.met.add("retired")


def _before(entry_id: str) -> str:
    milliseconds, _, number = entry_id.partition("-")
    if int(number):
        return f"{milliseconds}-{int(number) - 1}"
    return f"{int(milliseconds) - 1}-{2**63}"
