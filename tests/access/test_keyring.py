"""The keyring: what it reloads, how seldom, and what it keeps when Postgres is away."""

from __future__ import annotations

import asyncio

import pytest

from flashsale.access.buyer_keys import BuyerKey
from flashsale.access.keyring import Keyring
from flashsale.access.tokens import Buyer, TokenRefusal, issue_buyer_token

NOW = 1_800_000_000.0
FIRST, SECOND = (BuyerKey(f"kid_{n}", "mer_a", "HS256", str(n).encode() * 32) for n in "12")
RETIRED = BuyerKey("kid_0", "mer_a", "HS256", b"0" * 32, "retired")
FINE = Buyer("mer_a", "buyer-1")


class Shelf:
    """Keys to load, how often they were loaded, and a clock that stands until it is moved."""

    def __init__(self, *keys: BuyerKey) -> None:
        self.keys = keys
        self.loads = 0
        self.now = 100.0
        self.failure: Exception | None = None
        self.first_answer = asyncio.Event()
        self.first_answer.set()
        self.keyring = Keyring(self.load, clock=lambda: self.now)

    async def load(self) -> dict[str, BuyerKey]:
        self.loads += 1
        keys = self.keys
        await (self.first_answer.wait() if self.loads == 1 else asyncio.sleep(0))
        if self.failure is not None:
            raise self.failure
        return {key.kid: key for key in keys}


def token(key: BuyerKey) -> str:
    return issue_buyer_token(key, "buyer-1", now=NOW)


async def test_an_unknown_key_is_looked_for_once():
    shelf = Shelf(FIRST)
    assert await shelf.keyring.verify(token(FIRST), NOW) == FINE
    assert await shelf.keyring.verify(token(FIRST), NOW) == FINE
    assert shelf.loads == 1


async def test_made_up_keys_cost_one_reload_a_second():
    shelf = Shelf(FIRST)
    tokens = [token(BuyerKey(f"kid_x{n}", "mer_a", "HS256", b"x" * 32)) for n in range(20)]

    async def storm() -> set[Buyer | TokenRefusal]:
        return set(await asyncio.gather(*(shelf.keyring.verify(each, NOW) for each in tokens)))

    for moved, loads in ((0.0, 1), (0.9, 1), (0.1, 2), (0.0, 2)):
        shelf.now += moved
        assert await storm() == {TokenRefusal.TOKEN_INVALID}
        assert shelf.loads == loads


async def test_a_new_key_is_known_a_second_later():
    shelf = Shelf(FIRST)
    await shelf.keyring.verify(token(FIRST), NOW)
    shelf.keys = (FIRST, SECOND)
    assert await shelf.keyring.verify(token(SECOND), NOW) is TokenRefusal.TOKEN_INVALID
    shelf.now += 1
    assert await shelf.keyring.verify(token(SECOND), NOW) == FINE


async def test_the_verifier_stays_while_no_key_changes():
    shelf = Shelf(FIRST, SECOND)
    await shelf.keyring.refresh()
    before = shelf.keyring.verifier
    await shelf.keyring.refresh()
    assert shelf.keyring.verifier is before
    shelf.keys = (SECOND, FIRST)
    await shelf.keyring.refresh()
    assert shelf.keyring.verifier is not before


async def several_turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_an_older_answer_never_comes_last():
    shelf = Shelf(FIRST)
    shelf.first_answer.clear()
    slow = asyncio.create_task(shelf.keyring.refresh())
    await several_turns()  # it has read the shelf, and has yet to answer
    shelf.keys = (FIRST, SECOND)
    quick = asyncio.create_task(shelf.keyring.refresh())
    await several_turns()
    shelf.first_answer.set()
    await asyncio.gather(slow, quick)
    assert shelf.keyring.verifier.verify(token(SECOND), NOW) == FINE


async def test_a_reload_that_takes_long_is_not_joined_by_another():
    shelf = Shelf(FIRST)
    shelf.first_answer.clear()
    callers = []
    for _ in range(3):
        callers.append(asyncio.create_task(shelf.keyring.verify(token(FIRST), NOW)))
        await several_turns()
        shelf.now += 2
    shelf.first_answer.set()
    assert await asyncio.gather(*callers) == [FINE] * 3
    assert shelf.loads == 1


async def test_known_keys_serve_while_the_reload_fails():
    shelf = Shelf(FIRST)
    await shelf.keyring.refresh()
    shelf.failure = OSError("no server")
    for _ in range(2):
        with pytest.raises(OSError, match="no server"):
            await shelf.keyring.verify(token(SECOND), NOW)
    assert shelf.loads == 2  # the second caller shared the first one's failure
    assert await shelf.keyring.verify(token(FIRST), NOW) == FINE
    shelf.failure = None
    shelf.keys = (FIRST, SECOND)
    shelf.now += 1
    assert await shelf.keyring.verify(token(SECOND), NOW) == FINE


async def test_one_caller_gone_leaves_the_reload_to_the_others():
    shelf = Shelf(FIRST)
    gone, stays = (asyncio.create_task(shelf.keyring.verify(token(FIRST), NOW)) for _ in "12")
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == FINE
    assert shelf.loads == 1


async def test_the_newest_active_key_signs():
    shelf = Shelf(FIRST, SECOND, RETIRED)
    await shelf.keyring.refresh()
    assert shelf.keyring.signing_key("mer_a") == SECOND
    assert shelf.keyring.signing_key("mer_b") is None
