"""Locust users: browsers, buyers, impatient ones, bots. Each run of a task is one request."""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
from locust import task
from locust.contrib.fasthttp import FastHttpUser, ResponseContextManager

from flashsale.access.buyer_keys import BuyerKey
from flashsale.access.tokens import fast_issuer
from loadtest.plan import LocustPlan
from loadtest.profiles import PROFILES, scaled, schedule_of

TOKEN_SECONDS = 24 * 3600
REPEATS = 2
END_SECONDS = 3600.0
#: Refusals that tell the truth. Anything else that is not a yes is a failure of the run.
HONEST = frozenset({"sold_out", "not_open", "sale_over"})


class Run:
    """What the users of one locust process share."""

    def __init__(self, plan: LocustPlan) -> None:
        self.plan = plan
        self.profile = scaled(PROFILES[plan.profile], plan.minutes)
        self.schedule = schedule_of(self.profile)
        key = BuyerKey(plan.kid, plan.merchant_id, "HS256", plan.secret.encode())
        self.token_of = fast_issuer(key, now=time.time(), ttl_seconds=TOKEN_SECONDS)
        self.prefix = f"{os.getpid()}-{random.getrandbits(32):08x}-"
        self._numbers = itertools.count(1)
        answers = Path(plan.results) / f"answered-{os.getpid()}.txt"
        # Line by line: what was answered must be on record even if this process is killed.
        self._answers = answers.open("w", encoding="ascii", buffering=1)

    def new_buyer(self) -> str:
        """A buyer nobody has been before."""
        return f"{self.prefix}{next(self._numbers)}"

    def answered(self, order: str) -> None:
        """Put on record that a buyer was told yes."""
        self._answers.write(order + "\n")

    def dues(self) -> Iterator[float | None]:
        """When one user's requests are due, one after another; None: at once."""
        if self.schedule is None:
            yield from itertools.repeat(None)
            return
        opening, users = self.plan.starts_at_ms / 1000, self.profile.user_count
        begun = self.schedule.due_before(time.time() - opening) // users
        for turn in itertools.count(begun + random.random()):
            instant = self.schedule.instant_of(turn * users)
            yield opening + instant if instant is not None else time.time() + END_SECONDS


class Visitor(FastHttpUser):
    """Comes when the schedule says so, however slow the answers are."""

    abstract = True

    def on_start(self) -> None:
        self.shared: Run = self.environment.flashsale_run
        self.dues = self.shared.dues()
        self.orders_path = f"/v1/sales/{self.shared.plan.sale}/orders"
        self.body = orjson.dumps({"sku": self.shared.plan.sku, "quantity": 1}).decode()
        due = next(self.dues)
        time.sleep(max(0.0, due - time.time()) if due is not None else self._until_opening())

    def _until_opening(self) -> float:
        return max(0.0, self.shared.plan.starts_at_ms / 1000 - time.time())

    def wait_time(self) -> float:
        due = next(self.dues)
        return 0.0 if due is None else max(0.0, due - time.time())

    def order(self, name: str, buyer: str, key: str, honest: frozenset[str] = HONEST) -> str | None:
        """Send an order; its id, or None where it was refused."""
        headers = {
            "Authorization": f"Bearer {self.shared.token_of(buyer)}",
            "Idempotency-Key": key,
            "Content-Type": "application/json",
        }
        with self.client.post(
            self.orders_path, data=self.body, headers=headers, name=name, catch_response=True
        ) as response:
            if response.status_code == 201:
                return str(orjson.loads(response.content)["id"])
            code = _code(response)
            if code in honest:
                response.request_meta["name"] = f"{name}: {code}"
                response.success()
            else:
                response.failure(f"{response.status_code} {code}")
            return None


def _code(response: ResponseContextManager) -> str:
    try:
        return str(orjson.loads(response.content)["code"])
    except (ValueError, KeyError, TypeError):
        return "no answer" if not response.status_code else "no problem document"


class Browser(Visitor):
    """Reads the sale."""

    @task
    def read(self) -> None:
        self.client.get(f"/v1/sales/{self.shared.plan.sale}", name="read")


class Buyer(Visitor):
    """A new buyer each time, who orders one unit."""

    @task
    def buy(self) -> None:
        buyer = self.shared.new_buyer()
        order = self.order("order", buyer, buyer)
        if order is not None:
            self.shared.answered(order)


class Impatient(Visitor):
    """Orders, then asks again with the same key, and must be named the same order."""

    buyer = ""
    order_id: str | None = None
    asked = REPEATS + 1

    @task
    def ask(self) -> None:
        if self.asked > REPEATS:
            self.buyer, self.asked = self.shared.new_buyer(), 0
            self.order_id = self.order("order", self.buyer, self.buyer)
            if self.order_id is not None:
                self.shared.answered(self.order_id)
        else:
            again = self.order("repeat", self.buyer, self.buyer)
            if self.order_id is not None and again != self.order_id:
                self.broken_promise(f"{self.order_id} became {again}")
            elif self.order_id is None and again is not None:
                # Refused before the opening, or while a unit was given back: now it is theirs.
                self.order_id = again
                self.shared.answered(again)
        self.asked += 1

    def broken_promise(self, what: str) -> None:
        self.environment.events.request.fire(
            request_type="CHECK",
            name="same order again",
            response_time=0,
            response_length=0,
            exception=AssertionError(what),
            context={},
        )


class Bot(Visitor):
    """One account that hammers: a new key each time, and one unit is all it may ever get."""

    name = ""

    @task
    def hammer(self) -> None:
        self.name = self.name or self.shared.new_buyer()
        key = f"{self.name}-{random.getrandbits(64):016x}"
        order = self.order("bot", self.name, key, HONEST | {"limit_reached"})
        if order is not None:
            self.shared.answered(order)
