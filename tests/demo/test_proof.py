from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from flashsale.demo.proof import prove
from tests.demo.ledger import SALE, ledger, order, store


def answers(folder: Path, name: str, numbers: Iterable[int]) -> Path:
    path = folder / name
    path.write_text("".join(f"{order(number)}\n" for number in numbers), encoding="ascii")
    return path


async def test_the_same_orders_on_both_sides_hold(fresh_database: str, tmp_path: Path) -> None:
    files = [answers(tmp_path, "a", range(60)), answers(tmp_path, "b", range(60, 100))]
    async with ledger(fresh_database) as connection:
        await store(connection, range(100))

        proof = await prove(connection, SALE, files)

    assert proof.holds
    assert (proof.answered, proof.stored) == (100, 100)
    assert "all 100 orders" in proof.sentence()


async def test_each_way_to_differ_is_named(fresh_database: str, tmp_path: Path) -> None:
    files = [answers(tmp_path, "a", [*range(10), 3])]
    async with ledger(fresh_database) as connection:
        await store(connection, range(1, 9))  # 0 and 9 are lost
        await store(connection, [20, 21, 22])  # nobody was told of these
        await connection.execute("UPDATE orders SET state = 'rejected' WHERE id = $1", order(5))

        proof = await prove(connection, SALE, files)

    assert not proof.holds
    assert proof.lost == tuple(sorted(order(number) for number in (0, 5, 9)))
    assert set(proof.untold) == {order(number) for number in (20, 21, 22)}
    assert (proof.lost_count, proof.untold_count, proof.repeated_count) == (3, 3, 1)
    assert "3 answered orders are lost" in proof.sentence()
