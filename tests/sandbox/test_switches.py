"""Everything that goes wrong with a provider can be switched on, and nothing is lost by it."""

from __future__ import annotations

import asyncio
import time

import pytest

from flashsale.payments.provider import MoneyKind, ProviderRefusedError
from tests.sandbox.house import PATIENCE_SECONDS, asked

DAY_MS = 86_400_000


async def opened(house, *names: str, **more):
    return [await house.provider.open(asked(name, **more)) for name in names]


async def test_each_callback_comes_again_where_duplicates_are_on(house):
    await house.switch(duplicate=2)
    [checkout] = await opened(house, "pay-1")
    assert await house.press(checkout, "pay") == 303
    told = await house.tell(3)
    assert {each.id for each in told} == {told[0].id}
    assert len({body for _, body in house.receiver.taken}) == 1


async def test_callbacks_come_swapped_where_reorder_is_on(house):
    checkouts = await opened(house, "pay-1", "pay-2")
    await house.switch(reorder=True)
    for checkout in checkouts:
        await house.press(checkout, "pay")
    assert [each.payment_id for each in await house.tell(2)] == ["pay-2", "pay-1"]


async def test_a_callback_that_nothing_overtakes_comes_all_the_same(house):
    await house.switch(reorder=True)
    [checkout] = await opened(house, "pay-1")
    await house.press(checkout, "pay")
    assert [each.payment_id for each in await house.tell(1)] == ["pay-1"]


async def test_a_delayed_callback_comes_behind_a_later_one(house):
    slow, quick, soon = await opened(house, "pay-1", "pay-2", "pay-3")
    for checkout, delay_ms in ((slow, DAY_MS), (quick, 0), (soon, 50)):
        await house.switch(delay_ms=delay_ms)
        await house.press(checkout, "pay")
    assert sorted(each.payment_id for each in await house.tell(2)) == ["pay-2", "pay-3"]


async def test_a_dropped_first_attempt_is_repeated(house):
    dropped, kept = await opened(house, "pay-1", "pay-2")
    await house.switch(drop=1.0)
    await house.press(dropped, "pay")
    await house.switch(drop=0.0)
    await house.press(kept, "pay")
    told = await house.tell(2)
    attempts = [headers["sandbox-attempt"] for headers, _ in house.receiver.taken]
    assert {each.payment_id: a for each, a in zip(told, attempts, strict=True)} == {
        "pay-1": "2",
        "pay-2": "1",
    }


async def test_charges_are_declined_in_the_share_that_is_asked_for(house):
    [saved] = await opened(house, "deposit", save=True)
    await house.press(saved, "pay")
    await house.switch(decline=0.5)
    names = [f"balance-{number}" for number in range(40)]
    for name in names:
        await house.provider.charge(asked(name), saved.ref)
        await house.provider.charge(asked(name), saved.ref)  # and no second event
    told = {each.payment_id: each.kind for each in await house.tell(41)}
    declined = [name for name in names if told[name] is MoneyKind.DECLINED]
    assert 8 < len(declined) < 32
    assert all(told[name] is MoneyKind.CAPTURED for name in names if name not in declined)
    assert len(house.receiver.taken) == 41
    other = await house.provider.open(asked("other"))
    with pytest.raises(ProviderRefusedError, match="not_saved"):
        await house.provider.charge(asked("balance"), other.ref)


async def test_late_money_comes_though_the_payment_was_closed(house):
    expires_at_ms = time.time_ns() // 1_000_000
    [checkout] = await opened(house, "pay-1", expires_at_ms=expires_at_ms)
    await house.switch(late=True, late_ms=DAY_MS)
    assert await house.press(checkout, "pay") == 303
    assert "on its way" in await house.page(checkout)
    await house.provider.expire(checkout.ref)
    [expired] = await house.tell(1)
    assert expired.kind is MoneyKind.EXPIRED
    await house.switch(late_ms=0)  # the day has passed
    assert await house.press(checkout, "late") == 303
    _, captured = await house.tell(2)
    assert captured.kind is MoneyKind.CAPTURED
    assert captured.occurred_at_ms >= expires_at_ms
    assert "Paid" in await house.page(checkout)


async def test_the_button_pays_late_and_pay_itself_is_refused_after_the_end(house):
    expires_at_ms = time.time_ns() // 1_000_000
    await house.switch(late_ms=0)
    [checkout] = await opened(house, "pay-1", expires_at_ms=expires_at_ms)
    assert await house.press(checkout, "pay") == 409
    assert await house.press(checkout, "late") == 303
    [captured] = await house.tell(1)
    assert captured.kind is MoneyKind.CAPTURED


async def test_switches_of_one_payment_are_its_own(house):
    own = asked("pay-1")._asdict() | {"switches": {"duplicate": 1, "fee_basis_points": 250}}
    status, answer = await house.call("POST", "/v1/payments", own)
    assert status == 201
    await house.browser.post(house.url + answer["path"], data={"action": "pay"})
    [other] = await opened(house, "pay-2")
    await house.press(other, "pay")
    told = await house.tell(3)
    assert sorted(each.payment_id for each in told) == ["pay-1", "pay-1", "pay-2"]
    assert {each.payment_id: each.fee for each in told} == {"pay-1": 3747, "pay-2": 1499}


async def test_what_is_not_taken_is_sent_again_until_it_is(house):
    house.receiver.refuse = 3
    [checkout] = await opened(house, "pay-1")
    await house.press(checkout, "pay")
    [told] = await house.tell(1)
    assert (told.payment_id, house.receiver.refused) == ("pay-1", 3)


async def test_what_is_still_on_its_way_is_told(house):
    house.receiver.refuse = 10_000
    late, paid = await opened(house, "pay-1", "pay-2")
    await house.switch(late_ms=DAY_MS)
    await house.press(late, "late")
    await house.press(paid, "pay")
    assert await house.call("GET", "/v1/pending") == (200, {"callbacks": 1, "late": 1})
    house.receiver.refuse = 0
    await house.tell(1)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await house.call("GET", "/v1/pending"))[1] != {"callbacks": 0, "late": 1}:
            await asyncio.sleep(0.01)


async def test_what_is_wrong_with_a_request_is_said(house):
    for method, path, body, status in (
        ("POST", "/v1/payments", {"payment_id": "x"}, 422),
        ("POST", "/v1/payments", asked("x", amount=0)._asdict(), 422),
        ("POST", "/v1/payments", asked("x")._asdict() | {"more": 1}, 422),
        ("PUT", "/v1/switches", {"drop": 1.5}, 422),
        ("PUT", "/v1/switches", {"nothing": True}, 422),
        ("GET", "/v1/payments/sbx_none", None, 404),
        ("GET", "/v1/payments/none", None, 404),
        ("GET", "/v1/statement?limit=0", None, 400),
        ("GET", "/v1/statement?after=evt_x_1", None, 404),
    ):
        answered, problem = await house.call(method, path, body)
        assert (answered, set(problem)) == (status, {"code", "detail"}), path
    assert (await house.call("GET", "/v1/switches", key="wrong"))[0] == 401
    async with house.browser.get(f"{house.url}/checkout/sbx.nothing") as response:
        assert response.status == 404
    [checkout] = await opened(house, "pay-1")
    assert await house.press(checkout, "steal") == 400
    status, _ = await house.call("POST", "/v1/payments", asked("pay-1", amount=1)._asdict())
    assert status == 409


async def test_the_page_shows_what_is_paid_and_runs_no_script(house):
    [checkout] = await opened(house, "pay-1")
    page = await house.page(checkout)
    assert "1,499.00 CNY" in page
    assert "Mi 3 &lt;1&gt;" in page
    assert all(f'value="{button}"' in page for button in ("pay", "decline", "late"))
    assert "width=device-width" in page
    assert "<script" not in page
    [yen] = await opened(house, "pay-2", currency="JPY", amount=5000)
    assert "5,000 JPY" in await house.page(yen)
    await house.press(checkout, "decline")
    page = await house.page(checkout)
    assert "Declined" in page
    assert "<button" not in page
    assert await house.press(checkout, "pay") == 409


async def test_the_book_moves_each_amount_once_however_many_ask_at_the_same_time(house):
    [checkout] = await opened(house, "pay-1", amount=1000)
    statuses = await asyncio.gather(*(house.press(checkout, "pay") for _ in range(8)))
    assert sorted(statuses) == [303, *[409] * 7]

    async def refund(number: int) -> bool:
        try:
            await house.provider.refund(f"refund-{number % 4}", checkout.ref, 400)
        except ProviderRefusedError:
            return False
        return True

    async with asyncio.timeout(PATIENCE_SECONDS):
        given = await asyncio.gather(*(refund(number) for number in range(12)))
    assert sum(given) == 6, "two refunds of four fit, each asked for three times"
    lines = [line async for line in house.provider.statement(None)]
    assert [(line.kind.value, line.amount) for line in lines] == [
        ("captured", 1000),
        ("refunded", 400),
        ("refunded", 400),
    ]
    behind = [line async for line in house.provider.statement(lines[1].event_id)]
    assert behind == lines[2:]
