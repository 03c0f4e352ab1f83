"""The Idempotency-Key header."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from flashsale.web.errors import Problem
from flashsale.web.idempotency import idempotency_key


@pytest.mark.parametrize("key", ["a", "a" * 255, "8e03978e-40d5-43dd", '"quoted"', "a b"])
def test_a_key_is_taken_as_it_is(key: str) -> None:
    assert idempotency_key(CIMultiDict({"idempotency-key": key})) == key


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ([], "idempotency_key_missing"),
        ([""], "idempotency_key_missing"),
        (["a" * 256], "idempotency_key_malformed"),
        (["a\tb"], "idempotency_key_malformed"),
        (["a\x7f"], "idempotency_key_malformed"),
        (["é"], "idempotency_key_malformed"),
        (["a\udcff"], "idempotency_key_malformed"),
        (["a", "a"], "idempotency_key_malformed"),
        (["", "a"], "idempotency_key_malformed"),
    ],
)
def test_other_keys_are_refused(keys: list[str], code: str) -> None:
    refused = idempotency_key(CIMultiDict([("Idempotency-Key", key) for key in keys]))
    assert isinstance(refused, Problem)
    assert (refused.code, refused.status) == (code, 400)
