"""Our check and PyJWT's side by side, both at one instant, and what tokens are made with."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from flashsale.access.tokens import Buyer, BuyerKey, TokenRefusal, TokenVerifier

NOW = 1_800_000_000.0
SECRET = b"a secret of the first merchant, kept"
OTHER_SECRET = b"a secret of the other merchant, kept"
ED25519 = Ed25519PrivateKey.from_private_bytes(b"p" * 32)
PUBLIC_PEM = ED25519.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
KEYS = {
    key.kid: key
    for key in (
        BuyerKey("old", "mer_a", "HS256", b"the first merchant's secret of old", "retired"),
        BuyerKey("a", "mer_a", "HS256", SECRET),
        BuyerKey("b", "mer_b", "HS256", OTHER_SECRET),
        BuyerKey("ed", "mer_ed", "EdDSA", PUBLIC_PEM),
    )
}
HEADER = {"alg": "HS256", "typ": "JWT", "kid": "a"}
CLAIMS = {"iss": "mer_a", "sub": "buyer-1", "iat": int(NOW), "exp": int(NOW) + 60}


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def sign(header, claims, secret: bytes = SECRET, digest=hashlib.sha256) -> str:
    """Sign anything, with no library to object; bytes and str stand for themselves as JSON text."""
    signed = f"{base64url(as_json(header))}.{base64url(as_json(claims))}"
    return f"{signed}.{base64url(hmac.digest(secret, signed.encode(), digest))}"


def as_json(value) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


def sign_segments(header: str, payload: str) -> str:
    signature = hmac.digest(SECRET, f"{header}.{payload}".encode(), "sha256")
    return f"{header}.{payload}.{base64url(signature)}"


def claims(**changes):
    return {name: value for name, value in {**CLAIMS, **changes}.items() if value is not ...}


def header(**changes):
    return {name: value for name, value in {**HEADER, **changes}.items() if value is not ...}


def signed_claims(**changes) -> str:
    return sign(HEADER, claims(**changes))


def signed_header(**changes) -> str:
    return sign(header(**changes), CLAIMS)


def eddsa(kid: str | None = "ed", **changes) -> str:
    fields = {} if kid is None else {"kid": kid}
    return jwt.encode(claims(iss="mer_ed", **changes), ED25519, "EdDSA", headers=fields)


def ours(token: str) -> Buyer | TokenRefusal:
    return TokenVerifier(KEYS).verify(token, NOW)


def theirs(token: str) -> Buyer | None:
    """PyJWT's answer, with the key chosen as the contract says."""
    try:
        fields = jwt.get_unverified_header(token)
        issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
        if "kid" in fields:
            candidates = [KEYS[fields["kid"]]] if fields["kid"] in KEYS else []
        else:
            candidates = [key for key in KEYS.values() if key.merchant_id == issuer]
        for key in candidates:
            if key.state == "active":
                return decode_with(token, key)
    except (jwt.InvalidTokenError, UnicodeError):
        pass
    return None


def decode_with(token: str, key: BuyerKey) -> Buyer:
    with pyjwt_at_our_instant():
        found = jwt.decode(
            token,
            key.secret,
            algorithms=[key.algorithm],
            options={"require": ["exp", "iat", "iss", "sub"]},
            leeway=2,
            issuer=key.merchant_id,
        )
    return Buyer(found["iss"], found["sub"])


@contextmanager
def pyjwt_at_our_instant() -> Iterator[None]:
    """PyJWT takes no `now`; without this, no test could stand at the very edge of an expiry."""

    class Fixed(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.fromtimestamp(NOW, tz or UTC)

    real, jwt.api_jwt.datetime = jwt.api_jwt.datetime, Fixed
    try:
        yield
    finally:
        jwt.api_jwt.datetime = real


def is_listed(token: str) -> bool:
    """Whether a token PyJWT takes has one of the reasons of STRICTER, found in another way."""
    segments = token.split(".")[:2]
    if len(token) > 2048 or "=" in token:
        return True
    repeated = []

    def pairs(found):
        if len(dict(found)) < len(found):
            repeated.append(found)
        return dict(found)

    try:
        texts = [base64.urlsafe_b64decode(segment + "==").decode() for segment in segments]
        fields, found = (json.loads(text, object_pairs_hook=pairs) for text in texts)
        json.dumps([fields, found], allow_nan=False, ensure_ascii=False).encode()
    except ValueError:  # not UTF-8, not finite, not Unicode
        return True
    times = [found.get(name, 0) for name in ("exp", "iat", "nbf")]
    return (
        bool(repeated)
        or str(fields.get("typ", "JWT")).upper() != "JWT"
        or any(name in fields for name in ("crit", "b64"))
        or "aud" in found
        or not 0 < len(found["sub"]) <= 128
        or any(ord(character) < 32 or 127 <= ord(character) < 160 for character in found["sub"])
        or any(isinstance(time, (bool, str)) for time in times)
        or any(not 0 <= time <= 253_402_300_799 for time in times)
        or any(time > NOW + 2 for time in times[1:])
    )


def hold_to_pyjwt(token: str) -> None:
    answer, reference = ours(token), theirs(token)
    if isinstance(answer, Buyer):
        assert answer == reference
    elif reference is not None:
        assert is_listed(token), f"refused as {answer}, but PyJWT takes it"
