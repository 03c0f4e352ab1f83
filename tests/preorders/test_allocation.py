"""Who is served by a lot: the rule alone, on every queue that hypothesis thinks of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flashsale.preorders.allocation import LotRoom, Share, Waiting, WaveRoom, allocate, wave_of

LOTS = st.lists(st.integers(0, 6), max_size=5).map(
    lambda free: [LotRoom(f"lot{n}", units) for n, units in enumerate(free)]
)
QUEUE = st.lists(st.integers(1, 4), max_size=12).map(
    lambda wants: [Waiting(f"order{n}", units) for n, units in enumerate(wants)]
)


def test_lots_are_used_up_in_their_order_and_an_order_may_draw_on_two():
    lots = [LotRoom("a", 1), LotRoom("empty", 0), LotRoom("b", 3)]
    queue = [Waiting("x", 2), Waiting("y", 1), Waiting("z", 2)]
    assert allocate(lots, queue) == [Share("a", "x", 1), Share("b", "x", 1), Share("b", "y", 1)]


def test_the_first_who_does_not_fit_ends_the_round():
    assert allocate([LotRoom("a", 3)], [Waiting("x", 2), Waiting("y", 2), Waiting("z", 1)]) == [
        Share("a", "x", 2)
    ]


@given(LOTS, QUEUE)
def test_whoever_is_served_is_served_whole_and_before_everybody_behind(lots, queue):
    shares = allocate(lots, queue)
    got: dict[str, int] = {}
    for share in shares:
        got[share.order] = got.get(share.order, 0) + share.quantity
    served = queue[: len(got)]
    assert got == {each.order: each.quantity for each in served}
    room = sum(lot.free for lot in lots) - sum(each.quantity for each in served)
    assert room >= 0
    behind = queue[len(got) :]
    assert not behind or behind[0].quantity > room
    for lot in lots:
        assert sum(share.quantity for share in shares if share.lot == lot.lot) <= lot.free


@given(LOTS, QUEUE, st.integers(0, 12))
def test_two_rounds_come_to_the_same_as_one(lots, queue, first):
    """A crash between two bounded rounds changes nothing of who is served."""
    begun = allocate(lots, queue[:first])
    served = {share.order for share in begun}
    if len(served) < min(first, len(queue)):
        return  # the head of what is left did not fit
    taken = {lot.lot: sum(s.quantity for s in begun if s.lot == lot.lot) for lot in lots}
    left = [LotRoom(lot.lot, lot.free - taken[lot.lot]) for lot in lots]
    assert begun + allocate(left, queue[first:]) == allocate(lots, queue)


def test_an_order_is_promised_the_first_part_of_the_cap_with_room_for_all_of_it():
    waves = [WaveRoom("", 10, 9), WaveRoom("w1", 5, 0), WaveRoom("w2", 5, 0)]
    assert wave_of(waves, 1) == ""
    assert wave_of(waves, 2) == "w1"
    assert wave_of(waves, 6) == "w2"
