"""Which key a buyer token is held to, what the verifier remembers, and the tokens we sign."""

from __future__ import annotations

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from flashsale.access import tokens
from flashsale.access.tokens import (
    Buyer,
    BuyerKey,
    TokenRefusal,
    TokenVerifier,
    fast_issuer,
    issue_buyer_token,
)
from tests.access.pyjwt_oracle import (
    CLAIMS,
    ED25519,
    HEADER,
    KEYS,
    NOW,
    OTHER_SECRET,
    SECRET,
    eddsa,
    header,
    sign,
)

FINE = Buyer("mer_a", "buyer-1")
INVALID = TokenRefusal.TOKEN_INVALID
SUBJECTS = ["buyer-1", "a:b", '"\\', "小米", "e\u0301 \u00a0\u2028", "🛒" * 128, "x"]
BAD_SUBJECTS = ["", "x" * 129, "a\nb", "\x7f", "\x9f", "\ud800"]


def test_without_a_kid_only_the_newest_active_key_serves():
    older, newer = (BuyerKey(kid, "mer_a", "HS256", kid.encode() * 32) for kid in "12")
    verifier = TokenVerifier({"1": older, "2": newer, **KEYS, "a": KEYS["old"]})
    no_kid = header(kid=...)
    assert verifier.verify(sign(no_kid, CLAIMS, newer.secret), NOW) == FINE
    assert verifier.verify(sign(no_kid, CLAIMS, older.secret), NOW) is INVALID
    assert verifier.verify(sign(header(kid="1"), CLAIMS, older.secret), NOW) == FINE


def test_a_retired_key_is_no_ones_newest():
    verifier = TokenVerifier({"a": KEYS["a"], "old": KEYS["old"]})
    assert verifier.verify(sign(header(kid=...), CLAIMS), NOW) == FINE


def test_a_remembered_header_still_needs_its_signature():
    verifier = TokenVerifier(KEYS)
    assert verifier.verify(sign(HEADER, CLAIMS), NOW) == FINE
    assert verifier.verify(sign(HEADER, CLAIMS, OTHER_SECRET), NOW) is INVALID


def test_only_a_right_signature_is_remembered_and_never_too_many(monkeypatch):
    monkeypatch.setattr(tokens, "HEADER_CACHE_MAX", 3)
    verifier = TokenVerifier(KEYS)
    for number in range(10):
        verifier.verify(sign(header(x=number), CLAIMS, OTHER_SECRET), NOW)
    assert len(verifier._headers) == 0
    sizes = set()
    for number in range(10):
        assert verifier.verify(sign(header(x=number), CLAIMS), NOW) == FINE
        sizes.add(len(verifier._headers))
    assert sizes == {1, 2, 3}


def test_an_ed25519_key_may_be_raw():
    raw = ED25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    verifier = TokenVerifier({"ed": BuyerKey("ed", "mer_ed", "EdDSA", raw)})
    assert verifier.verify(eddsa(), NOW) == Buyer("mer_ed", "buyer-1")


@pytest.mark.parametrize(
    ("algorithm", "secret"),
    [
        ("HS256", b"x" * 31),
        ("HS512", b"x" * 64),
        ("none", b""),
        ("EdDSA", b"x" * 31),
        ("EdDSA", b"\xff" * 40),
        ("EdDSA", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
        ("EdDSA", ED25519.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())),
        (
            "EdDSA",
            Ed448PrivateKey.generate()
            .public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        ),
    ],
)
def test_a_key_that_cannot_serve_is_refused(algorithm, secret):
    with pytest.raises(ValueError, match=r"HS256|EdDSA"):
        BuyerKey("a", "mer_a", algorithm, secret)


def test_a_key_shows_no_secret():
    assert SECRET.decode() not in repr(KEYS["a"])


@pytest.mark.parametrize("subject", SUBJECTS)
def test_issued_tokens_are_right_and_alike(subject):
    issued = issue_buyer_token(KEYS["a"], subject, now=NOW, ttl_seconds=60)
    fast = fast_issuer(KEYS["a"], now=NOW, ttl_seconds=60)(subject)
    options = {"verify_exp": False, "verify_iat": False}
    expected = {"iss": "mer_a", "sub": subject, "iat": int(NOW), "exp": int(NOW) + 60}
    for token in (issued, fast):
        assert TokenVerifier(KEYS).verify(token, NOW) == Buyer("mer_a", subject)
        assert jwt.decode(token, SECRET, ["HS256"], options) == expected
        assert jwt.get_unverified_header(token) == HEADER


@pytest.mark.parametrize("subject", BAD_SUBJECTS)
def test_a_bad_subject_is_not_issued(subject):
    with pytest.raises(ValueError, match="subject"):
        issue_buyer_token(KEYS["a"], subject, now=NOW)
    with pytest.raises(ValueError, match="subject"):
        fast_issuer(KEYS["a"], now=NOW)(subject)


def test_we_hold_no_private_half_to_sign_with():
    with pytest.raises(ValueError, match="EdDSA"):
        issue_buyer_token(KEYS["ed"], "buyer-1", now=NOW)
    with pytest.raises(ValueError, match="EdDSA"):
        fast_issuer(KEYS["ed"], now=NOW)
