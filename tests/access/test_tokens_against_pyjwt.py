"""Buyer tokens, one by one: our answer and PyJWT's. We are stricter only as STRICTER lists."""

from __future__ import annotations

import base64
import hashlib
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flashsale.access.tokens import Buyer, TokenRefusal
from tests.access.pyjwt_oracle import (
    CLAIMS,
    HEADER,
    KEYS,
    NOW,
    OTHER_SECRET,
    PUBLIC_PEM,
    as_json,
    base64url,
    claims,
    eddsa,
    header,
    is_listed,
    ours,
    sign,
    sign_segments,
    signed_claims,
    signed_header,
    theirs,
)

INVALID, EXPIRED = TokenRefusal.TOKEN_INVALID, TokenRefusal.TOKEN_EXPIRED
UNKNOWN, TOO_LONG = TokenRefusal.KEY_UNKNOWN, TokenRefusal.TOKEN_TOO_LONG
FINE = Buyer("mer_a", "buyer-1")
GOOD = sign(HEADER, CLAIMS)
H, P, S = GOOD.split(".")
HEADER_TEXT, CLAIMS_TEXT = json.dumps(HEADER), json.dumps(CLAIMS)
PADDED_CLAIMS = base64.urlsafe_b64encode(CLAIMS_TEXT.encode().ljust(100)).decode()


def with_claim_text(text: str) -> str:
    return sign(HEADER, CLAIMS_TEXT[:-1] + text + "}")


def respelt(length: int) -> str:
    """The claims in base64url with the last bit of the last character set, which says nothing."""
    text = base64url(CLAIMS_TEXT.encode().ljust(length))
    assert text[-1] in "Ag"
    return text[:-1] + {"A": "B", "g": "h"}[text[-1]]


BOTH_ACCEPT = {
    "plain": GOOD,
    "no kid": signed_header(kid=...),
    "no typ": signed_header(typ=...),
    "typ in lower case": signed_header(typ="jwt"),
    "unknown header field": signed_header(cty="x"),
    "compact JSON": sign(json.dumps(HEADER, separators=(",", ":")), CLAIMS),
    "spaced JSON": sign(HEADER, json.dumps(CLAIMS, indent=3)),
    "more claims": signed_claims(name="x:y", roles=["a", {"b": 1}], jti="1"),
    "same name at two depths": signed_claims(more={"sub": "x", "inner": {"sub": "y"}}),
    "times as floats": signed_claims(iat=NOW, exp=NOW + 5.5),
    "last instant before expiry": signed_claims(exp=int(NOW) - 1),
    "iat at the leeway": signed_claims(iat=NOW + 2),
    "nbf at the leeway": signed_claims(nbf=NOW + 2),
}
BOTH_REFUSE = {
    "empty": ("", INVALID),
    "one segment": (H, INVALID),
    "two segments": (f"{H}.{P}", INVALID),
    "four segments": (f"{GOOD}.{S}", INVALID),
    "no header": (f".{P}.{S}", INVALID),
    "no claims": (sign_segments(H, ""), INVALID),
    "no signature": (f"{H}.{P}.", INVALID),
    "claims swapped": (f"{P}.{H}.{S}", INVALID),
    "space before": (" " + GOOD, INVALID),
    "newline after": (GOOD + "\n", INVALID),
    "newlines in the claims": (sign_segments(H, P[:8] + "\n" * 4 + P[8:]), INVALID),
    "claims spelt otherwise, two bits": (sign_segments(H, respelt(100)), INVALID),
    "claims spelt otherwise, four bits": (sign_segments(H, respelt(101)), INVALID),
    "standard alphabet": (sign_segments(H, base64url(b'{"a":"\xc3\xbf?>?>"}') + "+/"), INVALID),
    "not ASCII": (f"{H}.{P}.{S[:-1]}ä", INVALID),
    "lone surrogate": (f"{H}.{P}.{S[:-1]}\udc80", INVALID),
    "signature of other claims": (f"{H}.{base64url(as_json(claims(sub='x')))}.{S}", INVALID),
    "signature cut": (GOOD[:-2], INVALID),
    "other merchant's secret": (sign(HEADER, CLAIMS, OTHER_SECRET), INVALID),
    "other merchant's kid": (sign(header(kid="b"), CLAIMS, OTHER_SECRET), INVALID),
    "other merchant's name": (signed_claims(iss="mer_b"), INVALID),
    "retired key": (sign(header(kid="old"), CLAIMS, KEYS["old"].secret), INVALID),
    "retired secret, no kid": (sign(header(kid=...), CLAIMS, KEYS["old"].secret), INVALID),
    "unknown kid": (signed_header(kid="nobody"), UNKNOWN),
    "unknown issuer, no kid": (sign(header(kid=...), claims(iss="mer_x")), UNKNOWN),
    "no such algorithm's key": (sign(header(kid=..., alg="EdDSA"), CLAIMS), UNKNOWN),
    "kid of a wrong type": (signed_header(kid=7), INVALID),
    "kid null": (signed_header(kid=None), INVALID),
    "alg none": (f"{base64url(as_json(header(alg='none')))}.{P}.", INVALID),
    "alg none, signed": (signed_header(alg="none"), INVALID),
    "alg in lower case": (signed_header(alg="hs256"), INVALID),
    "alg missing": (signed_header(alg=...), INVALID),
    "alg of a wrong type": (signed_header(alg=["HS256"]), INVALID),
    "HS512": (sign(header(alg="HS512"), CLAIMS, digest=hashlib.sha512), INVALID),
    "EdDSA named for an HS256 key": (signed_header(alg="EdDSA"), INVALID),
    "public key as a secret": (sign(header(kid="ed"), claims(iss="mer_ed"), PUBLIC_PEM), INVALID),
    "header not JSON": (sign("{", CLAIMS), INVALID),
    "header a list": (sign("[]", CLAIMS), INVALID),
    "claims not JSON": (sign(HEADER, "{"), INVALID),
    "claims a list": (sign(HEADER, "[]"), INVALID),
    "claims null": (sign(HEADER, "null"), INVALID),
    "claims not UTF-8": (sign(HEADER, b'{"sub":"\xff"}'), INVALID),
    "claims too deep": (sign(HEADER, "[" * 1200), INVALID),
    "sub a number": (signed_claims(sub=1), INVALID),
    "iss a list": (signed_claims(iss=["mer_a"]), INVALID),
    "iss a list, no kid": (sign(header(kid=...), claims(iss=["mer_a"])), INVALID),
    "exp not a number": (signed_claims(exp="soon"), INVALID),
    "exp infinite": (with_claim_text(', "exp": 1e999'), INVALID),
    "jti a number": (signed_claims(jti=1), INVALID),
    "aud": (signed_claims(aud="somebody"), INVALID),
    "crit": (signed_header(crit=["exp"]), INVALID),
    "iat too early by a second": (signed_claims(iat=int(NOW) + 3), INVALID),
    "nbf too early by a second": (signed_claims(nbf=int(NOW) + 3), INVALID),
    "expired long ago": (signed_claims(exp=1), EXPIRED),
    "expired, but for a fraction": (signed_claims(exp=NOW - 1.5), EXPIRED),
    "expired at this instant": (signed_claims(exp=int(NOW) - 2), EXPIRED),
    **{f"{name} missing": (signed_claims(**{name: ...}), INVALID) for name in CLAIMS},
    **{f"{name} null": (signed_claims(**{name: None}), INVALID) for name in CLAIMS},
}
# What we refuse and PyJWT takes. Each has its reason; `is_listed` below knows no other.
STRICTER = {
    "more than 2 KiB": (signed_claims(name="x" * 2048), TOO_LONG),
    "name twice in the claims": (with_claim_text(', "sub": "buyer-1"'), INVALID),
    "name twice, once escaped": (with_claim_text(', "s\\u0075b": "buyer-1"'), INVALID),
    "name twice, deep inside": (with_claim_text(', "x": [{"y": 1, "y": 1}]'), INVALID),
    "name twice in the header": (sign(HEADER_TEXT[:-1] + ', "kid": "a"}', CLAIMS), INVALID),
    "padded claims": (sign_segments(H, PADDED_CLAIMS), INVALID),
    "UTF-16": (sign(HEADER, CLAIMS_TEXT.encode("utf-16-le")), INVALID),
    "NaN": (signed_claims(x=float("nan")), INVALID),
    "infinity": (with_claim_text(', "x": 1e999'), INVALID),
    "sub empty": (signed_claims(sub=""), INVALID),
    "sub of 129 characters": (signed_claims(sub="x" * 129), INVALID),
    "sub with a control character": (signed_claims(sub="a\x00"), INVALID),
    "sub with a C1 control": (signed_claims(sub="a\x85"), INVALID),
    "sub with a lone surrogate": (signed_claims(sub="\ud800"), INVALID),
    "typ of another kind": (signed_header(typ="at+jwt"), INVALID),
    "typ of a wrong type": (signed_header(typ=1), INVALID),
    "b64 true": (signed_header(b64=True), INVALID),
    "aud empty": (signed_claims(aud=[]), INVALID),
    "exp a string": (signed_claims(exp=str(CLAIMS["exp"])), INVALID),
    "iat true": (signed_claims(iat=True), INVALID),
    "iat negative": (signed_claims(iat=-1), INVALID),
    "exp past the year 9999": (signed_claims(exp=253_402_300_800), INVALID),
    "exp beyond 64 bits": (signed_claims(exp=10**30), INVALID),
    "iat early by a fraction": (signed_claims(iat=NOW + 2.4), INVALID),
    "nbf early by a fraction": (signed_claims(nbf=NOW + 2.4), INVALID),
}


@pytest.mark.parametrize("name", BOTH_ACCEPT)
def test_both_accept(name):
    assert (ours(BOTH_ACCEPT[name]), theirs(BOTH_ACCEPT[name])) == (FINE, FINE)


@pytest.mark.parametrize("name", BOTH_REFUSE)
def test_both_refuse(name):
    token, refusal = BOTH_REFUSE[name]
    assert (ours(token), theirs(token)) == (refusal, None)


@pytest.mark.parametrize("name", STRICTER)
def test_only_we_refuse(name):
    token, refusal = STRICTER[name]
    assert ours(token) is refusal
    assert theirs(token) is not None
    assert is_listed(token)


@pytest.mark.parametrize("name", BOTH_ACCEPT)
def test_a_token_both_accept_is_not_listed_as_refused(name):
    assert not is_listed(BOTH_ACCEPT[name])


@pytest.mark.parametrize("kid", ["ed", None])
def test_eddsa_both_accept(kid):
    assert ours(eddsa(kid)) == theirs(eddsa(kid)) == Buyer("mer_ed", "buyer-1")


@pytest.mark.parametrize(
    "token",
    [
        eddsa()[:-2] + "AA",
        eddsa()[:-4],
        eddsa()[:-1] + "é",
        eddsa().rpartition(".")[0] + ".",
        jwt.encode(claims(iss="mer_ed"), Ed25519PrivateKey.generate(), "EdDSA"),
        eddsa(kid="a"),
    ],
)
def test_eddsa_both_refuse(token):
    assert ours(token) is INVALID
    assert theirs(token) is None
