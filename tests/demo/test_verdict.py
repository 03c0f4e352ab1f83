from __future__ import annotations

import json

import pytest

from flashsale.demo.verdict import verdict_of

SALE = "abcdefghijkl"


def answer(*, holds: bool = True, sale: str = SALE, checks: int = 2) -> bytes:
    check = {"invariant": "INV-2", "equation": "live <= capacity", "left": 9, "right": 8}
    listed = [{**check, "holds": holds} for _ in range(checks)]
    return json.dumps({"holds": holds, "sales": [{"sale_id": sale, "checks": listed}]}).encode()


def test_an_audit_that_holds_is_believed() -> None:
    verdict = verdict_of(SALE, 0, answer(), "")

    assert verdict.holds
    assert verdict.sentence == "the audit holds, all 2 equations"
    assert verdict.equations[0] == ("INV-2: live <= capacity", "9 | 8")


@pytest.mark.parametrize(
    ("code", "output", "told"),
    [
        (1, answer(holds=False, checks=1), "INV-2, live <= capacity (9 against 8)"),
        (1, answer(), "ended with 1"),
        (0, answer(checks=0), "ended with 0"),
        (0, answer(sale="another-sale"), "did not answer"),
        (0, b'{"holds": true, "sales": []}', "did not answer"),
        (2, b"", "did not answer: flashsale: Redis cannot be reached"),
    ],
)
def test_anything_else_is_not(code: int, output: bytes, told: str) -> None:
    verdict = verdict_of(SALE, code, output, "flashsale: Redis cannot be reached")

    assert not verdict.holds
    assert told in verdict.sentence
