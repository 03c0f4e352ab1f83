"""A merchant's keys for buyer tokens, and how a signature is held to one. Never logs a secret."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import OKPAlgorithm

from flashsale.access.names import new_id
from flashsale.access.segments import decode_segment, encode_segment

HS256_SECRET_MIN_BYTES = 32  # RFC 7518, section 3.2: no shorter than the hash
ED25519_RAW_BYTES = 32

Algorithm = Literal["HS256", "EdDSA"]
KeyState = Literal["active", "retired"]
SignatureCheck = Callable[[bytes, bytes], bool]


@dataclass(frozen=True, slots=True)
class BuyerKey:
    """A merchant's key for buyer tokens.

    `secret` is the HS256 secret (at least 32 bytes), or the Ed25519 public key as PEM or as its
    32 raw bytes. ValueError on any other; no message repeats the secret.
    """

    kid: str
    merchant_id: str
    algorithm: Algorithm
    secret: bytes = field(repr=False)
    state: KeyState = "active"

    def __post_init__(self) -> None:
        if self.algorithm not in {"HS256", "EdDSA"}:
            raise ValueError("a buyer key's algorithm is HS256 or EdDSA")
        signature_check(self)


@dataclass(frozen=True, slots=True)
class BuyerKeyRecord:
    """What a merchant is told of a buyer key; `public_key` is null for HS256, never its secret.

    "retiring": verifies until `retires_at`, beside its successor.
    """

    kid: str
    algorithm: Algorithm
    label: str
    state: Literal["active", "retiring", "retired"]
    created_at: datetime
    retires_at: datetime | None
    retired_at: datetime | None
    public_key: bytes | None


def generate_buyer_key(merchant_id: str) -> BuyerKey:
    """Make an HS256 key of 256 random bits, its secret printable: merchants handle it as text."""
    secret = secrets.token_urlsafe(HS256_SECRET_MIN_BYTES).encode()
    return BuyerKey(new_id("kid"), merchant_id, "HS256", secret)


def uploaded_buyer_key(merchant_id: str, public_key: str) -> BuyerKey:
    """A merchant's own Ed25519 key, given as PEM; ValueError where it is no such public key."""
    if not public_key.startswith("-----BEGIN PUBLIC KEY-----"):
        raise ValueError("a public key is sent as PEM")
    key = _ed25519_public_key(public_key.encode())
    # Kept as it would be written anew: what else the text may hold is nobody's business.
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return BuyerKey(new_id("kid"), merchant_id, "EdDSA", pem)


def signature_check(key: BuyerKey) -> SignatureCheck:
    """Return `matches(signed, signature segment)` for one key, prepared once."""
    if key.algorithm == "HS256":
        return _hs256_check(key.secret)
    return _eddsa_check(key.secret)


def _hs256_check(secret: bytes) -> SignatureCheck:
    if len(secret) < HS256_SECRET_MIN_BYTES:
        raise ValueError(f"an HS256 secret has at least {HS256_SECRET_MIN_BYTES} bytes")
    # Copying a keyed MAC costs two thirds of hmac.digest(), which hashes the key each time.
    keyed = hmac.new(secret, digestmod="sha256")

    def matches(signed: bytes, signature: bytes) -> bool:
        # Encoding ours, and not decoding theirs, leaves one accepted spelling.
        mac = keyed.copy()
        mac.update(signed)
        return hmac.compare_digest(encode_segment(mac.digest()), signature)

    return matches


def _eddsa_check(secret: bytes) -> SignatureCheck:
    algorithm = OKPAlgorithm()
    public_key = _ed25519_public_key(secret)

    def matches(signed: bytes, signature: bytes) -> bool:
        try:
            return algorithm.verify(signed, public_key, decode_segment(signature))
        except ValueError:
            return False

    return matches


def _ed25519_public_key(secret: bytes) -> Ed25519PublicKey:
    if len(secret) == ED25519_RAW_BYTES:
        return Ed25519PublicKey.from_public_bytes(secret)
    try:
        key = OKPAlgorithm().prepare_key(secret)
    except (ValueError, TypeError, jwt.InvalidKeyError):
        key = None
    # PyJWT would also take an Ed448 key, and a private one, which is not ours to hold.
    if isinstance(key, Ed25519PublicKey):
        return key
    raise ValueError("an EdDSA key is an Ed25519 public key, as PEM or 32 raw bytes")
