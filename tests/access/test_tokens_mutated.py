"""Buyer tokens broken at random: whatever PyJWT refuses, we refuse."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.access.pyjwt_oracle import (
    CLAIMS,
    HEADER,
    NOW,
    claims,
    eddsa,
    header,
    hold_to_pyjwt,
    sign,
    sign_segments,
)

HEADER_TEXT, CLAIMS_TEXT = json.dumps(HEADER).encode(), json.dumps(CLAIMS).encode()
TOKENS = [sign(HEADER, CLAIMS), sign(header(kid=...), CLAIMS), eddsa()]

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(int(NOW) - 5, int(NOW) + 5),
    st.floats(),
    st.floats(NOW - 4, NOW + 4),
    st.text(max_size=140),
    st.sampled_from(["mer_a", "mer_b", "mer_ed", "1800000100", "a", "b", "HS256", "none", "jwt"]),
    st.lists(st.sampled_from(["exp", "mer_a", 1]), max_size=2),
    st.dictionaries(st.sampled_from(["sub", "x"]), st.integers(), max_size=2),
)
CLAIM_CHANGES = st.dictionaries(
    st.sampled_from(["iss", "sub", "iat", "exp", "nbf", "aud", "jti", "x"]), SCALARS, max_size=3
)
HEADER_CHANGES = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "crit", "b64", "x"]), SCALARS, max_size=2
)


@settings(max_examples=600, deadline=None)
@given(HEADER_CHANGES, CLAIM_CHANGES, st.booleans())
def test_any_fields_signed_well(header_changes, claim_changes, with_kid):
    changed = {"kid": "a" if with_kid else ..., **header_changes}
    hold_to_pyjwt(sign(header(**changed), claims(**claim_changes)))


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_broken_json_signed_well(data):
    texts = [HEADER_TEXT, CLAIMS_TEXT]
    which = data.draw(st.integers(0, 1))
    texts[which] = data.draw(mutations(texts[which], st.binary(min_size=1, max_size=4)))
    hold_to_pyjwt(sign(*texts))


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_broken_tokens(data):
    token = data.draw(st.sampled_from(TOKENS))
    inserts = st.sampled_from([b"=", b".", b" ", b"\n", b"+", b"/", b"-", b"_", b"A", b"\x00"])
    hold_to_pyjwt(data.draw(mutations(token.encode(), inserts)).decode("latin-1"))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_broken_segments_signed_well(data):
    segments = TOKENS[0].encode().split(b".")[:2]
    which = data.draw(st.integers(0, 1))
    inserts = st.sampled_from([b"=", b".", b" ", b"\n", b"+", b"A"])
    segments[which] = data.draw(mutations(segments[which], inserts))
    hold_to_pyjwt(sign_segments(*(segment.decode("latin-1") for segment in segments)))


@st.composite
def mutations(draw, text: bytes, inserts) -> bytes:
    """One bit flipped, one piece cut out, put in twice or put elsewhere, or something put in."""
    at, to = sorted((draw(st.integers(0, len(text) - 1)), draw(st.integers(0, len(text)))))
    piece = text[at:to]
    flipped = bytes([text[at % len(text)] ^ 1 << draw(st.integers(0, 7))])
    return draw(
        st.sampled_from(
            [
                text[:at] + flipped + text[at + 1 :],
                text[:at] + text[to:],
                text[:to] + piece + text[to:],
                piece + text[:at] + text[to:],
                text[:at] + draw(inserts) + text[at:],
                text + draw(inserts),
            ]
        )
    )
