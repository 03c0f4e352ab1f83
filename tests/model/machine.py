"""The machine: rules in any order. A rule draws numbers alone, so that an example plays again."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.model.calm import calm
from tests.model.stage import Stage
from tests.model.troubles import Troubles
from tests.model.world import World

BUYERS = ["ann", "bob", "cat"]
KEYS = ["k1", "k2", "k3"]
ITEMS = 2
INTERRUPTED = [
    *("begin", "cancel", "change", "work", "sweep", "wave", "cut", "item"),
    *("pause", "resume", "close", "cancel_sale"),
]
_ANY = st.integers(0, 11)
_WISH = st.tuples(
    st.sampled_from(BUYERS),
    st.sampled_from(KEYS),
    st.sampled_from([0, 0, 0, 1, 1, ITEMS, -1]),
    st.sampled_from([1, 1, 2, 3]),
)


class SaleMachine(RuleBasedStateMachine):
    """One sale of few units, few buyers, and everything that can happen to them."""

    world: ClassVar[World]
    loop: ClassVar[asyncio.AbstractEventLoop]
    #: What all examples together have come across.
    met: ClassVar[set[str]]
    doings: Troubles | None = None

    def _run(self, doing: Coroutine[Any, Any, Any]) -> None:
        """One rule, and what must hold after it."""
        self.loop.run_until_complete(doing)
        assert self.doings is not None
        self.loop.run_until_complete(self.doings.stage.check())

    @initialize(
        kind=st.sampled_from(["launch", "preorder"]),
        capacity=st.lists(st.integers(1, 4), min_size=ITEMS, max_size=ITEMS),
        limit=st.integers(2, 4),
        lanes=st.sampled_from([1, 1, 2]),
        on_default=st.sampled_from(["forfeit", "refund"]),
        saved_pays=st.booleans(),
    )
    def schedule(
        self,
        kind: str,
        capacity: list[int],
        limit: int,
        lanes: int = 1,
        on_default: str = "forfeit",
        *,
        saved_pays: bool = False,
    ) -> None:
        limit = min(limit, *capacity)
        opening = Stage.open(self.world, kind, capacity, limit, lanes, on_default)
        stage = self.loop.run_until_complete(opening)
        self.loop.run_until_complete(self.world.switch(saved_pays=saved_pays))
        self.doings = Troubles(stage, met=self.met)
        self._run(self.doings.expire(1))

    @rule(wishes=st.lists(_WISH, min_size=1, max_size=3))
    def reserve(self, wishes: list[tuple[str, str, int, int]]) -> None:
        self._run(self.doings.reserve(wishes))

    @rule(wish=_WISH)
    def reserve_and_pay(self, wish: tuple[str, str, int, int]) -> None:
        """What most buyers do, as far as the checkout."""
        self._run(self.doings.reserve([wish]))
        self._run(self.doings.settle_all())
        self._run(self.doings.begin_of(*wish[:2]))

    @rule(wish=_WISH)
    def reserve_and_buy(self, wish: tuple[str, str, int, int]) -> None:
        """What those do who do not dither."""
        self.reserve_and_pay(wish)
        self._run(self.doings.press(-1, "pay"))
        self.hear_and_work()
        self._run(self.doings.settle_all())

    @rule(number=_ANY)
    def cancel(self, number: int) -> None:
        self._run(self.doings.cancel(number))

    @rule(number=_ANY)
    def begin(self, number: int) -> None:
        self._run(self.doings.begin(number))

    @rule(number=_ANY, action=st.sampled_from(["pay", "pay", "decline"]))
    def press(self, number: int, action: str) -> None:
        self._run(self.doings.press(number, action))

    @rule(number=_ANY, again=st.booleans())
    def hear(self, number: int, again: bool) -> None:
        self._run(self.doings.hear(number, again=again))

    @rule()
    def hear_and_work(self) -> None:
        self._run(self.doings.hear(0, again=False))
        self._run(self.doings.work())

    @rule()
    def work(self) -> None:
        self._run(self.doings.work())

    @rule(number=_ANY, at=st.integers(0, ITEMS))
    def change_item(self, number: int, at: int) -> None:
        self._run(self.doings.change_item(number, at))

    @rule(number=_ANY)
    def refund(self, number: int) -> None:
        self._run(self.doings.refund(number))

    @rule(action=st.sampled_from(["pause", "resume", "resume", "resume", "close", "cancel"]))
    def command(self, action: str) -> None:
        self._run(self.doings.command(action))

    @rule(at=st.integers(0, ITEMS), quantity=st.sampled_from([-2, -1, 1, 2]))
    def supply(self, at: int, quantity: int) -> None:
        self._run(self.doings.supply(at, quantity))

    @rule(supply=st.integers(0, 2))
    def add_item(self, supply: int) -> None:
        self._run(self.doings.add_item(supply))

    @rule(
        what=st.sampled_from(INTERRUPTED),
        number=_ANY,
        calls=st.integers(0, 3),
        answered=st.booleans(),
    )
    def interrupt(self, what: str, number: int, calls: int, answered: bool) -> None:
        """Something is begun, and Redis is out of reach in the middle of it."""
        doings = self.doings
        doing = {
            "begin": lambda: doings.begin(number),
            "cancel": lambda: doings.cancel(number),
            "change": lambda: doings.change_item(number, number % ITEMS),
            "work": doings.work,
            "sweep": doings.sweep,
            "wave": lambda: doings.supply(number % ITEMS, 2),
            "cut": lambda: doings.supply(number % ITEMS, -2),
            "item": lambda: doings.add_item(1),
        }.get(what, lambda: doings.command(what.removesuffix("_sale")))
        self._run(doings.interrupted(doing(), calls, answered=answered))

    @rule(at=st.sampled_from([0, 0, 1]), quantity=st.integers(1, 2))
    def lot(self, at: int, quantity: int) -> None:
        self._run(self.doings.lot(at, quantity))

    @rule(hours=st.sampled_from([0, 1, 2]))
    def collect(self, hours: int) -> None:
        self._run(self.doings.collect(hours))
        self._run(self.doings.work())

    @rule(seconds=st.sampled_from([250, 700, 1000]))
    def advance(self, seconds: int) -> None:
        self._run(self.doings.advance(seconds))

    @rule(limit=st.sampled_from([1, 10]))
    def expire(self, limit: int) -> None:
        self._run(self.doings.expire(limit))

    @rule()
    def sweep(self) -> None:
        self._run(self.doings.sweep())

    @rule(worker=st.sampled_from(["one", "two"]), count=st.integers(1, 3))
    def read(self, worker: str, count: int) -> None:
        self._run(self.doings.read(worker, count))

    @rule(number=_ANY, acknowledge=st.booleans())
    def settle(self, number: int, acknowledge: bool) -> None:
        self._run(self.doings.settle(number, acknowledge=acknowledge))

    @rule()
    def settle_all(self) -> None:
        self._run(self.doings.settle_all())

    @rule()
    def watch(self) -> None:
        self._run(self.doings.watch())

    @rule()
    def keep_disk(self) -> None:
        self._run(self.doings.keep_disk())

    @rule(
        how=st.sampled_from(["alive", "older", "older", "lane", "wiped"]),
        calls=st.sampled_from([None, None, 1, 3, 5, 7]),
    )
    def lose(self, how: str, calls: int | None = None) -> None:
        self._run(self.doings.lose(how, calls))

    @rule()
    def retire(self) -> None:
        self._run(self.doings.retire())

    def teardown(self) -> None:
        """Everything is done that is to be done: then both stores and the money must add up."""
        if self.doings is not None:
            self._run(calm(self.doings))
