"""Names: sale ids, and order ids that a retry derives again.

An order id is the sale's id followed by a keyed hash of (sale, buyer, idempotency key): the same
request names the same order after a time-out, a restart or the loss of Redis, and an id tells its
sale without a look-up. It carries no time and, without the key, cannot be guessed.
"""

from __future__ import annotations

from base64 import b32encode
from binascii import b2a_base64
from hashlib import blake2b

SALE_ID_LENGTH = 12
ORDER_HASH_LENGTH = 20
ORDER_ID_LENGTH = SALE_ID_LENGTH + ORDER_HASH_LENGTH
_SALE_ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz234567")
_HASH_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_HASH_BYTES = 15
_SALE_BYTES = 8


def sale_id_from(random_bytes: bytes) -> str:
    """A sale id, 12 lower-case base32 characters, from 8 random bytes (60 bits are used)."""
    if len(random_bytes) != _SALE_BYTES:
        raise ValueError("a sale id is made from 8 random bytes")
    return b32encode(random_bytes)[:SALE_ID_LENGTH].decode().lower()


def order_hash(secret: bytes, sale: str, buyer: str, idempotency_key: str) -> str:
    """The part of an order id behind the sale's, 20 base64url characters (120 bits).

    Lengths stand before the parts, so that no two different triples read alike.
    """
    material = f"{len(sale)}:{sale}{len(buyer)}:{buyer}{idempotency_key}".encode()
    digest = blake2b(material, digest_size=_HASH_BYTES, key=secret).digest()
    # base64 and not the sale's base32: Python's base32 costs more than all the rest of this.
    return b2a_base64(digest, newline=False).translate(_URL_SAFE).decode()


def order_id(secret: bytes, sale: str, buyer: str, idempotency_key: str) -> str:
    """The public order id, 32 characters."""
    return sale + order_hash(secret, sale, buyer, idempotency_key)


def split_order_id(text: str) -> tuple[str, str] | None:
    """(sale id, order hash) of a well-formed order id, else None."""
    sale, order = text[:SALE_ID_LENGTH], text[SALE_ID_LENGTH:]
    if (
        len(text) != ORDER_ID_LENGTH
        or not _SALE_ALPHABET.issuperset(sale)
        or not _HASH_ALPHABET.issuperset(order)
    ):
        return None
    return sale, order
