"""Order ids: the same for a retry, different for everything else, telling nothing."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flashsale.domain.identity import (
    ORDER_ID_LENGTH,
    SALE_ID_LENGTH,
    order_hash,
    order_id,
    sale_id_from,
    split_order_id,
)

SECRET = bytes(range(32))
SALE = "abcdefgh2345"
GOOD = "a" * ORDER_ID_LENGTH
PINNED = "abcdefgh2345FJn6OBP6nYcFOl2BSNWA"
sales = st.text(
    "abcdefghijklmnopqrstuvwxyz234567", min_size=SALE_ID_LENGTH, max_size=SALE_ID_LENGTH
)
names = st.text(min_size=1, max_size=30)


@given(sales, names, names)
def test_a_retry_derives_the_same_id_which_splits_again(sale: str, buyer: str, key: str):
    text = order_id(SECRET, sale, buyer, key)
    assert text == order_id(SECRET, sale, buyer, key)
    assert len(text) == ORDER_ID_LENGTH
    assert split_order_id(text) == (sale, order_hash(SECRET, sale, buyer, key))


def test_an_id_is_the_same_in_every_version():
    """Orders of a running sale would not be found again."""
    assert order_id(SECRET, SALE, "ann", "key-1") == PINNED


@given(st.text("12:a", max_size=30), st.data())
def test_parts_that_read_alike_when_joined_differ(text: str, data: st.DataObject):
    def cut() -> tuple[str, str, str]:
        first, second = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
        return text[:first], text[first:second], text[second:]

    one, other = cut(), cut()
    assume(one != other)
    assert order_hash(SECRET, *one) != order_hash(SECRET, *other)


@given(names, names, st.binary(min_size=32, max_size=32))
def test_without_the_secret_it_cannot_be_derived(buyer: str, key: str, secret: bytes):
    assume(secret != SECRET)
    assert order_hash(secret, SALE, buyer, key) != order_hash(SECRET, SALE, buyer, key)


def test_a_hundred_thousand_orders_do_not_collide():
    hashes = {
        order_hash(SECRET, SALE, f"buyer-{number % 1000}", f"key-{number // 1000}")
        for number in range(100_000)
    }
    assert len(hashes) == 100_000


def test_ids_do_not_follow_one_another():
    """Nothing in an id grows with its order: no time, no counter."""
    hashes = [order_hash(SECRET, SALE, "ann", f"{number:08}") for number in range(1000)]
    rising = sum(one < other for one, other in pairwise(hashes))
    assert 400 < rising < 600


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD[:-1],
        GOOD + "a",
        "A" + GOOD[1:],
        "1" + GOOD[1:],
        GOOD[:-1] + "+",
        GOOD[:-1] + "=",
        GOOD[:-1] + "\n",
        GOOD[:-1] + "\uff41",
    ],
)
def test_what_is_no_order_id_splits_into_nothing(text: str):
    assert split_order_id(text) is None


def test_sale_ids_are_made_of_chance_alone():
    dice = random.Random(7)
    ids = {sale_id_from(dice.randbytes(8)) for _ in range(10_000)}
    assert len(ids) == 10_000
    assert all(split_order_id(sale + GOOD[SALE_ID_LENGTH:]) for sale in ids)


@pytest.mark.parametrize("size", [0, 7, 9])
def test_a_sale_id_needs_eight_bytes(size: int):
    with pytest.raises(ValueError, match="8 random bytes"):
        sale_id_from(bytes(size))
