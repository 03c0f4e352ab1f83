"""What the sandbox knows of itself, kept in its file: a secret, a name, its switches."""

from __future__ import annotations

import secrets
import sqlite3
from typing import NamedTuple

from flashsale.sandbox.book import Book
from flashsale.sandbox.values import Switches


class Facts(NamedTuple):
    """`secret` is what the addresses of checkouts are made with."""

    book: Book
    secret: bytes
    switches: Switches


def load(connection: sqlite3.Connection) -> Facts:
    """What a file holds, made at its first use."""
    connection.execute(
        "INSERT INTO facts VALUES ('nonce', ?), ('secret', ?), ('switches', ?)"
        " ON CONFLICT DO NOTHING",
        (secrets.token_hex(6).encode(), secrets.token_bytes(32), b"{}"),
    )
    facts = dict(connection.execute("SELECT name, value FROM facts").fetchall())
    last = connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0]
    switches = Switches.model_validate_json(facts["switches"])
    return Facts(Book(facts["nonce"].decode(), last), facts["secret"], switches)


def save_switches(connection: sqlite3.Connection, switches: Switches) -> None:
    """Keep the switches for the next start."""
    connection.execute(
        "UPDATE facts SET value = ? WHERE name = 'switches'", (switches.model_dump_json().encode(),)
    )
