"""The shapes of buyer keys and of the audit log, as requests and answers."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from flashsale.sales.forms import Form, Instant, Name
from flashsale.web.schemas import View

PEM_MAX_CHARACTERS = 1000


class BuyerKeyForm(Form):
    """A key that buyer tokens are signed with.

    The secret of an HS256 key is made here and answered once. Of an EdDSA key only the Ed25519
    public half is sent, as PEM.
    """

    algorithm: Literal["HS256", "EdDSA"]
    label: Annotated[Name, Field(max_length=100)] | None = None
    public_key: Annotated[str, Field(max_length=PEM_MAX_CHARACTERS)] | None = None


class RetirementForm(Form):
    """When a key stops: until then its tokens and its successor's are both good."""

    retires_at: Instant


class BuyerKeyView(View):
    """What is told of a buyer key; its `kid` belongs into the header of each token."""

    kid: str
    algorithm: Literal["HS256", "EdDSA"]
    label: str
    state: Literal["active", "retiring", "retired"]
    created_at: datetime
    retires_at: datetime | None
    retired_at: datetime | None
    public_key: str | None


class NewBuyerKey(BuyerKeyView):
    """A key as made: the `secret` of an HS256 one is shown this once."""

    secret: str | None


class BuyerKeyPage(View):
    """All buyer keys, oldest first; `next_cursor` is always null."""

    items: list[BuyerKeyView]
    next_cursor: None


class AuditEntry(View):
    """One change, or a write refused for want of a scope.

    `actor` is the API key's id (`operator`: the command line), `action` the call's operationId.
    `hash` is the SHA-256 of `entry`, letter by letter; `entry` is JSON, says all this again and
    names in `previous` the hash of the entry before it, 64 zeros in the first.
    """

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str | None
    sale_id: str | None
    detail: dict[str, Any]
    hash: str
    entry: str


class AuditPage(View):
    """A page of the audit log, newest first."""

    items: list[AuditEntry]
    next_cursor: str | None
