"""Sending: signed, at least once, again until it is given up, and each merchant for itself."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from flashsale.webhooks import queries
from flashsale.webhooks.backoff import SECONDS_MAX, delay_seconds, next_attempt
from flashsale.webhooks.delivery_http import ANSWER_BYTES_MAX
from flashsale.webhooks.delivery_lane import IN_FLIGHT_MAX, LEASE_SECONDS
from flashsale.webhooks.values import DeliveryState, Outcome
from tests.webhooks.conftest import Office, Receiver, Told, receiving, running, until


async def test_a_message_is_what_standard_webhooks_says(office: Office, receiver: Receiver) -> None:
    endpoint = await office.endpoint(receiver)
    order = await office.order("x")
    assert await office.deliveries().deliver_due() == 1
    (told,) = receiver.told
    verified = Webhook(endpoint.secrets[0]).verify(told.body, dict(told.headers))
    assert verified["type"] == "order.confirmed"
    assert verified["data"]["order_id"] == order
    assert datetime.fromisoformat(verified["timestamp"]).tzinfo is UTC
    assert told.headers["Content-Type"] == "application/json"
    assert await office.states() == ["delivered"]
    with pytest.raises(WebhookVerificationError):
        Webhook(endpoint.secrets[0]).verify(told.body + b" ", dict(told.headers))
    # Nothing is due: nothing is sent again.
    assert await office.deliveries().deliver_due() == 0


async def test_two_secrets_sign_while_one_takes_over(office: Office, receiver: Receiver) -> None:
    before = await office.endpoint(receiver)
    after = await office.service().rotate("m", before.id)
    assert after.secrets[1] == before.secrets[0] != after.secrets[0]
    await office.order("x")
    await office.deliveries().deliver_due()
    for secret in after.secrets:
        Webhook(secret).verify(receiver.told[0].body, dict(receiver.told[0].headers))
    await office.pool.execute(
        "UPDATE webhook_endpoints SET previous_until = $1", office.now() - timedelta(seconds=1)
    )
    await office.order("y")
    await office.deliveries().deliver_due()
    told = receiver.told[1]
    Webhook(after.secrets[0]).verify(told.body, dict(told.headers))
    with pytest.raises(WebhookVerificationError):
        Webhook(before.secrets[0]).verify(told.body, dict(told.headers))


async def test_what_fails_is_tried_again_with_the_same_id(
    office: Office, receiver: Receiver
) -> None:
    endpoint = await office.endpoint(receiver)
    receiver.respond(500, 302, 400, headers={"Location": receiver.url + "/elsewhere"}, text="no")
    await office.order("x")
    for tried in range(1, 5):
        assert await office.deliveries().deliver_due() == 1
        assert await office.deliveries().deliver_due() == 0  # not before its time
        assert len(receiver.told) == tried
        office.wait(hours=1)
    assert len({told.id for told in receiver.told}) == 1
    (delivery,) = await office.service().deliveries("m", endpoint.id, None, None, 10)
    assert delivery.state is DeliveryState.DELIVERED
    assert delivery.attempts == 4
    assert [line["status"] for line in delivery.log] == [500, 302, 400, 204]
    assert delivery.log[1]["error"] == "Redirects are not followed."


async def test_after_three_days_it_is_given_up(office: Office, receiver: Receiver) -> None:
    endpoint = await office.endpoint(receiver)
    receiver.respond(*[503] * 1000, text="down\0" + "x" * 100_000)
    begun = office.now()
    await office.order("x")
    while await office.states() == ["pending"]:
        await office.deliveries().deliver_due()
        office.wait(minutes=30)
    assert timedelta(days=2.5) < office.now() - begun < timedelta(days=3.1)
    (delivery,) = await office.service().deliveries("m", endpoint.id, DeliveryState.DEAD, None, 10)
    assert delivery.attempts == len(receiver.told) > 10
    assert len(delivery.log) == 10
    assert delivery.answer is not None
    assert len(delivery.answer) == ANSWER_BYTES_MAX
    assert delivery.answer.startswith("down\ufffd")
    office.wait(days=1)
    assert await office.deliveries().deliver_due() == 0


async def test_gone_disables_the_endpoint_until_it_is_enabled(
    office: Office, receiver: Receiver
) -> None:
    endpoint = await office.endpoint(receiver)
    for name in ("x", "y"):
        await office.order(name)
    receiver.respond(410)
    assert await office.deliveries(in_flight_max=1).deliver_due() == 1
    found = await office.service().read("m", endpoint.id)
    assert (found.state, found.note) == ("disabled", "The endpoint answered 410 Gone.")
    assert await office.states() == ["dead", "pending"]
    # Nothing new is kept for it while it is disabled, and nothing is sent.
    await office.order("z")
    office.wait(hours=1)
    assert await office.deliveries().deliver_due() == 0
    assert len(await office.states()) == 2
    assert (await office.service().enable("m", endpoint.id)).state == "active"
    assert await office.service().replay_dead("m", endpoint.id, office.now() - timedelta(1)) == 1
    await office.deliveries().deliver_due()
    assert await office.states() == ["delivered", "delivered"]
    assert len(receiver.told) == 3


async def test_an_endpoint_may_ask_for_more_time(office: Office, receiver: Receiver) -> None:
    await office.endpoint(receiver)
    receiver.respond(429, headers={"Retry-After": "600"})
    await office.order("x")
    await office.deliveries().deliver_due()
    office.wait(seconds=590)
    assert await office.deliveries().deliver_due() == 0
    office.wait(seconds=20)
    assert await office.deliveries().deliver_due() == 1


async def test_a_slow_endpoint_delays_no_other(office: Office, receiver: Receiver) -> None:
    """The slow one answers only once the fast one has been told everything."""
    everything, most = asyncio.Event(), 0
    async with receiving() as slow:
        waiting = 0

        async def answer(_: Told) -> web.Response:
            nonlocal waiting, most
            waiting += 1
            most = max(most, waiting)
            await everything.wait()
            waiting -= 1
            return web.Response()

        slow.answer = answer
        await office.endpoint(slow)
        await office.endpoint(receiver)
        for number in range(200):
            await office.order(f"o{number}")
        async with running(office.deliveries()):
            await until(lambda: len(receiver.told) == 200)
            assert 0 < most <= IN_FLIGHT_MAX
            everything.set()
            await until(lambda: len(slow.told) == 200)
        assert most <= IN_FLIGHT_MAX


async def test_what_a_process_was_sending_is_sent_by_another(
    office: Office, receiver: Receiver
) -> None:
    await office.endpoint(receiver)
    await office.order("x")
    (endpoint,) = await queries.busy_endpoints(office.pool, office.now())

    async def claim() -> queries.Claimed:
        lease, now = timedelta(seconds=LEASE_SECONDS), office.now()
        return await queries.claim(
            office.pool, endpoint.id, now, limit=9, lease_until=now + lease, blocked_until=now
        )

    assert len((await claim()).claims) == 1  # and that process dies here
    assert await office.deliveries().deliver_due() == 0
    office.wait(seconds=LEASE_SECONDS + 1)
    assert await office.deliveries().deliver_due() == 1
    assert await office.states() == ["delivered"]


async def test_who_comes_back_after_its_lease_changes_nothing(
    office: Office, receiver: Receiver
) -> None:
    await office.endpoint(receiver)
    await office.order("x")
    (endpoint,) = await queries.busy_endpoints(office.pool, office.now())
    claims = []
    for _ in range(2):
        now = office.now()
        until_then = now + timedelta(seconds=LEASE_SECONDS)
        claimed = await queries.claim(
            office.pool, endpoint.id, now, limit=9, lease_until=until_then, blocked_until=now
        )
        claims += claimed.claims
        office.wait(seconds=LEASE_SECONDS + 1)
    late, ours = claims
    assert (late.event_id, late.attempt, ours.attempt) == (ours.event_id, 1, 2)
    for claim, state in ((late, DeliveryState.DEAD), (ours, DeliveryState.DELIVERED)):
        now = office.now()
        outcome = Outcome(claim.event_id, claim.fence, state, now, tried=True, at=now)
        await queries.finish(office.pool, endpoint.id, [outcome])
    assert await office.states() == ["delivered"]


async def test_a_stop_gives_back_what_was_not_sent(office: Office, receiver: Receiver) -> None:
    held = asyncio.Event()

    async def answer(_: Told) -> web.Response:
        await held.wait()
        return web.Response()

    receiver.answer = answer
    endpoint = await office.endpoint(receiver)
    for number in range(20):
        await office.order(f"o{number}")
    async with running(office.deliveries(in_flight_max=4, stop_seconds=0.05)):
        await until(lambda: len(receiver.told) >= 4)
    held.set()
    # Another process may send all of it at once, and no attempt was counted.
    found = await office.service().deliveries("m", endpoint.id, DeliveryState.PENDING, None, 50)
    assert len(found) == 20
    assert {delivery.attempts for delivery in found} == {0}
    receiver.answer, receiver.told = None, []
    assert await office.deliveries().deliver_due() == 20


async def test_old_events_and_deleted_endpoints_are_swept(
    office: Office, receiver: Receiver
) -> None:
    endpoint = await office.endpoint(receiver)
    deleted = await office.endpoint(receiver)
    await office.order("x")
    deliveries = office.deliveries(keep_days=7)
    await deliveries.deliver_due()
    assert await deliveries.sweep() == 0
    await office.service().delete("m", deleted.id)
    assert await deliveries.sweep() == 1
    office.wait(hours=2)
    await deliveries.sweep()
    assert await office.pool.fetchval("SELECT count(*) FROM webhook_endpoints") == 1
    office.wait(days=7)
    assert await deliveries.sweep() == 1
    assert await office.types() == await office.states() == []
    assert (await office.service().read("m", endpoint.id)).state == "active"


async def test_a_postgres_that_fails_is_waited_for(office: Office, receiver: Receiver) -> None:
    await office.endpoint(receiver)
    troubles: list[str] = []
    await office.pool.execute("ALTER TABLE webhook_deliveries RENAME TO away")
    async with running(office.deliveries(on_trouble=troubles.append)):
        with contextlib.suppress(Exception):
            await until(lambda: len(troubles) > 1)
        await office.pool.execute("ALTER TABLE away RENAME TO webhook_deliveries")
        await office.order("x")
        await until(lambda: receiver.types() == ["order.confirmed"])
    assert len(troubles) > 1


def test_the_schedule() -> None:
    waits = [delay_seconds(attempt, 0.5) for attempt in range(1, 30)]
    assert waits[:4] == [5, 15, 45, 135]
    assert waits == sorted(waits)
    assert waits[-1] == SECONDS_MAX
    assert delay_seconds(2, 0.0) < delay_seconds(2, 0.5) < delay_seconds(2, 1.0)
    assert delay_seconds(1, 0.5, 10**9) == 3600
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert next_attempt(now, 1, now + timedelta(seconds=5), chance=0.5) is not None
    assert next_attempt(now, 1, now + timedelta(seconds=4), chance=0.5) is None
