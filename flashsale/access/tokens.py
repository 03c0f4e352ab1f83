"""The gate of the hot path: is this buyer token genuine? Must never do I/O or read a clock.

PyJWT's decode takes half as long as a whole request, and a new buyer's token is in no cache, so
the check is written out here. `tests/access/test_tokens_against_pyjwt.py` holds it to PyJWT:
never laxer, and stricter only in what that file lists.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import jwt
import orjson

from flashsale.access.buyer_keys import Algorithm, BuyerKey, SignatureCheck, signature_check
from flashsale.access.segments import encode_segment, read_object

__all__ = ["Buyer", "BuyerKey", "TokenRefusal", "TokenVerifier", "fast_issuer", "issue_buyer_token"]

TOKEN_MAX_BYTES = 2048
SUBJECT_MAX_CHARACTERS = 128
LEEWAY_SECONDS = 2
LATEST_INSTANT_SECONDS = 253_402_300_799  # the end of the year 9999, RFC 3339's last
HEADER_CACHE_MAX = 1024  # all tokens of one key share a header, so this is many merchants


class Buyer(NamedTuple):
    """Whom a genuine token names: the merchant (`iss`) and the buyer (`sub`)."""

    merchant_id: str
    subject: str


class TokenRefusal(StrEnum):
    """Why a token was refused.

    TOKEN_TOO_LONG is answered 400, the others 401. On KEY_UNKNOWN the caller may reload its keys
    once and try again; what is still unknown then is answered `token_invalid`.
    """

    TOKEN_INVALID = "token_invalid"  # noqa: S105 - a code, not a password
    TOKEN_EXPIRED = "token_expired"  # noqa: S105
    TOKEN_TOO_LONG = "token_too_long"  # noqa: S105
    KEY_UNKNOWN = "key_unknown"


class _Signer(NamedTuple):
    merchant_id: str
    matches: SignatureCheck


class _Header(NamedTuple):
    """What a header segment asks for; without a `kid`, the token's `iss` chooses the signer."""

    algorithm: Algorithm
    signer: _Signer | None


class TokenVerifier:
    """Checks buyer tokens against one immutable snapshot of keys, given by kid, oldest first.

    A token without a `kid` is held to the newest active key of its issuer and algorithm. Headers
    are remembered only once a signature under them was right, so strangers cannot fill the cache.
    """

    __slots__ = ("_headers", "_keys", "_newest", "_signers")

    def __init__(self, keys: Mapping[str, BuyerKey]) -> None:
        self._keys = dict(keys)
        self._headers: dict[bytes, _Header] = {}
        self._signers: dict[str, _Signer] = {}
        self._newest: dict[tuple[str, str], _Signer] = {}
        for kid, key in self._keys.items():
            if key.state == "active":
                signer = _Signer(key.merchant_id, signature_check(key))
                self._signers[kid] = signer
                self._newest[key.merchant_id, key.algorithm] = signer

    def verify(self, token: str, now: float) -> Buyer | TokenRefusal:  # noqa: PLR0911
        """Return whom `token` names, or why it is refused; `now` is in seconds since 1970.

        The first check that fails decides: length, form, header, key, signature, claims, expiry.
        """
        if len(token) > TOKEN_MAX_BYTES:
            return TokenRefusal.TOKEN_TOO_LONG
        if not token.isascii():
            return TokenRefusal.TOKEN_INVALID
        signed, _, signature = token.encode().rpartition(b".")
        segment, _, payload = signed.partition(b".")
        header = self._headers.get(segment) or self._read_header(segment)
        if isinstance(header, TokenRefusal):
            return header
        claims = read_object(payload)
        if claims is None or type(issuer := claims.get("iss")) is not str:
            return TokenRefusal.TOKEN_INVALID
        signer = header.signer or self._newest.get((issuer, header.algorithm))
        if signer is None:
            return TokenRefusal.KEY_UNKNOWN
        if not signer.matches(signed, signature) or issuer != signer.merchant_id:
            return TokenRefusal.TOKEN_INVALID
        if segment not in self._headers:
            self._remember(segment, header)
        return _judge(claims, issuer, now)

    def _read_header(self, segment: bytes) -> _Header | TokenRefusal:
        fields = read_object(segment)
        if fields is None or not _is_plain(fields):
            return TokenRefusal.TOKEN_INVALID
        if "kid" not in fields:
            return _Header(fields["alg"], None)
        key = self._keys.get(fields["kid"])
        if key is None:
            return TokenRefusal.KEY_UNKNOWN
        if key.state != "active" or key.algorithm != fields["alg"]:
            return TokenRefusal.TOKEN_INVALID
        return _Header(key.algorithm, self._signers[key.kid])

    def _remember(self, segment: bytes, header: _Header) -> None:
        if len(self._headers) >= HEADER_CACHE_MAX:
            self._headers.clear()
        self._headers[segment] = header


def is_subject(text: str) -> bool:
    """Whether `text` can name a buyer: 1 to 128 characters, no control or surrogate among them."""
    if not 1 <= len(text) <= SUBJECT_MAX_CHARACTERS:
        return False
    # isprintable() is one fast call, but refuses more than we do (say, a no-break space).
    return text.isprintable() or not any(
        character < " " or "\x7f" <= character <= "\x9f" or "\ud800" <= character <= "\udfff"
        for character in text
    )


def issue_buyer_token(key: BuyerKey, subject: str, *, now: float, ttl_seconds: float = 3600) -> str:
    """Sign a token for `subject` with an HS256 key; ValueError for another key or bad subject."""
    _refuse_what_cannot_be_issued(key, subject)
    times = {"iat": int(now), "exp": int(now + ttl_seconds)}
    claims = {"iss": key.merchant_id, "sub": subject, **times}
    # jwt.encode() would escape what is not ASCII, and push a long name past TOKEN_MAX_BYTES.
    payload = orjson.dumps(claims)
    return jwt.PyJWS().encode(payload, key.secret, algorithm="HS256", headers={"kid": key.kid})


def fast_issuer(key: BuyerKey, *, now: float, ttl_seconds: float = 3600) -> Callable[[str], str]:
    """Return `issue_buyer_token` for one key and instant, several times as fast: for load tests.

    What all its tokens share is encoded and hashed once.
    """
    _refuse_what_cannot_be_issued(key, "anyone")
    header = encode_segment(orjson.dumps({"alg": "HS256", "kid": key.kid, "typ": "JWT"})) + b"."
    shared = {"iss": key.merchant_id, "iat": int(now), "exp": int(now + ttl_seconds)}
    opening = orjson.dumps(shared)[:-1] + b',"sub":'
    keyed = hmac.new(key.secret, header, "sha256")

    def issue(subject: str) -> str:
        if not is_subject(subject):
            raise ValueError(_BAD_SUBJECT)
        payload = encode_segment(opening + orjson.dumps(subject) + b"}")
        mac = keyed.copy()
        mac.update(payload)
        return (header + payload + b"." + encode_segment(mac.digest())).decode()

    return issue


_BAD_SUBJECT = f"a subject is 1 to {SUBJECT_MAX_CHARACTERS} characters, none of them control"


def _refuse_what_cannot_be_issued(key: BuyerKey, subject: str) -> None:
    if key.algorithm != "HS256":
        raise ValueError("only the merchant can sign with an EdDSA key: we hold its public half")
    if not is_subject(subject):
        raise ValueError(_BAD_SUBJECT)


def _is_plain(header: dict[str, Any]) -> bool:
    """Whether a header is of the one kind we take; `crit` and `b64` change what is signed."""
    kind = header.get("typ", "JWT")
    return (
        header.get("alg") in ("HS256", "EdDSA")
        and type(kind) is str
        and kind.upper() == "JWT"
        and type(header.get("kid", "")) is str
        and "crit" not in header
        and "b64" not in header
    )


def _judge(claims: dict[str, Any], merchant_id: str, now: float) -> Buyer | TokenRefusal:
    """Check the claims of a token whose signature and issuer are right; expiry comes last."""
    latest = now + LEEWAY_SECONDS
    try:
        subject, issued, expires = claims["sub"], claims["iat"], claims["exp"]
    except KeyError:
        return TokenRefusal.TOKEN_INVALID
    if (
        type(subject) is not str
        or not is_subject(subject)
        or not _is_instant(issued)
        or not _is_instant(expires)
        or issued > latest
        # With `iss` these are four, always there: a fifth is worth a look.
        or (len(claims) != 4 and not _others_allow(claims, latest))
    ):
        return TokenRefusal.TOKEN_INVALID
    # Like PyJWT, a fraction of a second is no extra time.
    if int(expires) <= now - LEEWAY_SECONDS:
        return TokenRefusal.TOKEN_EXPIRED
    return Buyer(merchant_id, subject)


def _others_allow(claims: dict[str, Any], latest: float) -> bool:
    if "aud" in claims:  # meant for someone by name, and we have none
        return False
    if type(claims.get("jti", "")) is not str:
        return False
    not_before = claims.get("nbf", 0)
    return _is_instant(not_before) and bool(not_before <= latest)


def _is_instant(value: Any) -> bool:
    # type() and not isinstance(): true is an int to Python.
    return (type(value) is int or type(value) is float) and 0 <= value <= LATEST_INSTANT_SECONDS
