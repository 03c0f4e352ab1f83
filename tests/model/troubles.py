"""Settlement by slow and dying workers, lost disks, and the end of a sale's lanes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from flashsale.recovery.protocol import Recovery
from flashsale.recovery.watch import faults
from flashsale.settlement.plan import Catalogue, UnknownItemError
from flashsale.settlement.queries import LaneToRead
from flashsale.settlement.settler import RoomMayComeError, Settled, Settler
from flashsale.stream.reader import Delivery, LaneReader
from flashsale.timekeeper import queries as timekeeping
from flashsale.timekeeper.queries import TendedSale
from flashsale.timekeeper.tending import Tending
from tests.model.merchant import Merchant
from tests.model.shadow import OPEN_ENDED, Shadow
from tests.model.stage import CHECKOUT_MS

_CAPACITIES = "SELECT capacity FROM sale_items WHERE sale_id = $1 ORDER BY item"
#: Units of supplies of which some lanes may not have heard, by item.
_UNTOLD = """SELECT item, sum(abs(quantity))::integer FROM supplies WHERE sale_id = $1
    AND (state = 'pending' OR (state = 'refused' AND shares IS NOT NULL)) GROUP BY item"""


@dataclass
class Disk:
    """Everything that Redis held at an instant, and the entries that were in its streams."""

    values: dict[str, bytes]
    #: By lane: the numbers of its entries, and the newest one it had given.
    entries: list[tuple[list[int], int]]


@dataclass
class Hand:
    """What a worker has read and not settled yet, and the items it knew of then."""

    lane: int
    reader: LaneReader
    delivery: Delivery
    catalogue: Catalogue


@dataclass
class Troubles(Merchant):
    """What happens to those who keep what buyers were told."""

    hands: list[Hand] = field(default_factory=list)
    disk: Disk | None = None
    #: The highest entry number that anybody has looked at, by lane.
    seen: dict[int, int] = field(default_factory=dict)

    # Settlement

    async def read(self, worker: str, count: int) -> None:
        """A worker takes some entries of each lane, and is slow, or dies."""
        sale = self.stage.sale.id
        for lane in range(len(self.shadow.lanes)):
            reader = LaneReader(self.world.redis, sale, lane, worker, deliveries_max=1000)
            delivery = await reader.read_new(count)
            if delivery.size:
                catalogue = await Settler(self.world.pool).catalogue(sale)
                self.hands.append(Hand(lane, reader, delivery, catalogue))

    async def settle(self, number: int, *, acknowledge: bool) -> None:
        """A worker commits what it has read; it may die before it has acknowledged that.

        What it read before a recovery has been drained since, or is lost: it settles none of it.
        """
        if not self.hands:
            return
        hand = self.hands.pop(number % len(self.hands))
        entries = hand.delivery.entries
        alive = [entry.seq for entry in entries if entry.epoch == self.stage.sale.epoch]
        try:
            settled = await self._settle(hand, patient=bool(alive))
        except RoomMayComeError:
            self.hands.append(hand)
            return
        assert not settled.rejected
        assert not settled.illegal, settled.illegal
        assert settled.drained == len(entries) - len(alive), "a zombie settles what is lost"
        self.met |= {"drained"} if settled.drained else set()
        self.shadow.lanes[hand.lane].settle(alive)
        if acknowledge:
            await hand.reader.acknowledge(hand.delivery.entry_ids)

    async def _settle(self, hand: Hand, *, patient: bool) -> Settled:
        settler = Settler(self.world.pool)
        try:
            return await settler.settle(
                hand.catalogue, hand.lane, hand.delivery, patient=patient, current=False
            )
        except UnknownItemError:
            hand.catalogue = await settler.catalogue(self.stage.sale.id)
            return await settler.settle(hand.catalogue, hand.lane, hand.delivery, patient=patient)

    async def settle_all(self) -> None:
        """A worker takes up everything, also what others have left."""
        if self.shadow.retired:
            return
        for number, lane in enumerate(self.shadow.lanes):
            await (await self.world.worker.lane(LaneToRead(self.stage.sale.id, number))).drain()
            lane.settle(lane.unsettled())

    # Disasters

    async def watch(self) -> None:
        """Somebody looks whether Redis has what was seen of it."""
        if not self.shadow.retired:
            assert await faults(self.world.pool, self.world.store, [self.stage.sale.id]) == []
            for number, lane in enumerate(self.shadow.lanes):
                self.seen[number] = max(lane.log, default=0)

    async def keep_disk(self) -> None:
        redis = self.world.redis
        values = {
            key: await redis.execute_command("DUMP", key, NEVER_DECODE=True)
            for key in await redis.keys("fs:*")
        }
        kept = []
        for number in range(len(self.shadow.lanes)):
            keys = self.stage.keys(number)
            entries = [int(fields["seq"]) for _, fields in await redis.xrange(keys.events)]
            kept.append((entries, int(await redis.hget(keys.meta, "seq") or 0)))
        self.disk = Disk(values, kept)

    async def lose(self, how: str, calls: int | None = None) -> None:
        """Redis comes back as it was, with an older disk, without a lane or with nothing.

        It is recovered; that may be cut short by so many calls, and is then begun again.
        """
        if self.shadow.retired:
            return
        redis, kept, shadow = self.world.redis, [], self.shadow
        disk = self.disk if how == "older" else None
        for number, lane in enumerate(shadow.lanes):
            if how == "alive" or (how == "lane" and number):
                kept.append((sorted(lane.log.keys() - lane.lost), max(lane.log, default=0)))
            else:
                kept.append(disk.entries[number] if disk else ([], 0))
        if how == "lane":
            await redis.delete(*self.stage.keys(0))
        elif how != "alive":
            await redis.flushdb()
            for key, value in (disk.values if disk else {}).items():
                await redis.execute_command("RESTORE", key, 0, value)
            await self.world.set_clock(self.stage.sale.id, self.stage.ahead)
        untold = dict(await self.world.pool.fetch(_UNTOLD, self.stage.sale.id))
        await self._recover(calls)
        for number, (entries, newest) in enumerate(kept):
            lane = shadow.lanes[number]
            survived = [seq for seq in entries if seq in lane.log]
            lane.recover(survived, max(newest, self.seen.get(number, 0)))
            await self._adopt(number, lane)
        await self._share_out(untold)
        if calls is not None:  # somebody has looked
            await self.stage.check()
            await self.watch()

    async def _recover(self, calls: int | None) -> None:
        world, sale = self.world, self.stage.sale.id

        async def drain(name: str, lane: int) -> None:
            await (await world.nurse.lane(LaneToRead(name, lane))).resettle()

        recovery = Recovery(world.pool, world.store, world.rebuilder, drain)
        recovered = []

        async def recover() -> None:
            recovered.append(await recovery.recover(sale, "a test"))

        if calls is not None:
            await self.interrupted(recover(), calls, answered=False)
        if not recovered:
            await recover()
        assert recovered != [None]
        await self.stage.look_again()
        self.disk = None
        self.past.add("recovered")
        self.met.add("recovered")

    async def _adopt(self, number: int, lane: Shadow) -> None:
        """Holds go on for a moment longer; the lane is what the sale is meant to be."""
        keys, now = self.stage.keys(number), await self._now()
        stream = await self.world.redis.xinfo_stream(keys.events)
        newest = stream["last-generated-id"]
        if stream["length"]:
            newest = _before(newest)
        else:  # an attempt that was cut short had opened it, and the next one has settled that
            opened = int(await self.world.redis.hget(keys.meta, "seq"))
            lane.follow(opened, now, [])
            lane.settle([opened])
        self.stage.last_ids[number] = newest
        lane.state = self.stage.state
        for name, order in lane.orders.items():
            until = int((await self.world.redis.hget(keys.holds, name)).split(":")[4])
            if order.state == "held":
                longer = order.hold_until < until <= now + CHECKOUT_MS  # its buyer may be paying
                assert until == order.hold_until or longer, "a hold's time was changed"
                lane.orders[name] = replace(order, hold_until=until, due=until)
            else:  # Postgres knows nothing of time that an earlier recovery has added
                assert until <= order.hold_until
                lane.orders[name] = replace(order, hold_until=until)

    async def _share_out(self, untold: Mapping[int, int]) -> None:
        """Capacity is what Postgres says, and the lanes share what is unsold of it evenly."""
        lanes = self.shadow.lanes
        rows = await self.world.pool.fetch(_CAPACITIES, self.stage.sale.id)
        known = min(len(lane.capacity) for lane in lanes)
        for at, row in enumerate(rows):
            before = sum(sum(lane.capacity[at : at + 1]) for lane in lanes)
            for number, lane in enumerate(lanes):
                stock = await self.world.redis.hgetall(self.stage.keys(number).stock)
                lane.capacity[at : at + 1] = [int(stock[f"capacity:{at}"])]
            after = sum(lane.capacity[at] for lane in lanes)
            assert after == row["capacity"], "not what Postgres has"
            assert at >= known or abs(before - after) <= untold.get(at, 0), "units out of nothing"
            unsold = [lane.available(at) for lane in lanes]
            assert max(unsold) - min(unsold) <= 1, "what is unsold is not shared out"

    async def retire(self) -> None:
        """The lanes of a sale that is over are removed, once nothing hangs on them."""
        shadow, sale = self.shadow, self.stage.sale
        if shadow.retired or self.stage.state not in {"closed", "cancelled"}:
            return
        lanes = len(shadow.lanes)
        for lane in range(lanes):
            await self.world.store.trim_events(sale.id, lane)
        tended = TendedSale(sale.id, sale.state, lanes, sale.epoch, armed=True, outlived=True)
        did = await Tending(self.world.store, 500).visit(tended, await self._now())
        if did.retired:
            assert not shadow.unsettled(), "INV-9: entries went with their lane"
            assert not any(each.state in OPEN_ENDED for each in shadow.orders.values())
            await timekeeping.mark_retired(self.world.pool, sale.id)
            shadow.retire()
            await self.stage.look_again()
            self.met.add("retired")


def _before(entry_id: str) -> str:
    milliseconds, _, number = entry_id.partition("-")
    if int(number):
        return f"{milliseconds}-{int(number) - 1}"
    return f"{int(milliseconds) - 1}-{2**63}"
