"""The shapes of outbound webhooks, as requests and answers."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from flashsale.sales.forms import Form, Instant
from flashsale.web.schemas import PageQuery, View
from flashsale.webhooks.addresses import URL_CHARACTERS_MAX
from flashsale.webhooks.values import EVENT_TYPES

#: An event's type, as an endpoint may ask for it.
EventType = Literal[EVENT_TYPES]  # type: ignore[valid-type]
State = Literal["pending", "delivered", "dead"]


class WebhookForm(Form):
    """Where to send events. Without `types` it is every type, those to come as well."""

    url: Annotated[str, Field(min_length=1, max_length=URL_CHARACTERS_MAX)]
    types: list[EventType] = Field(default_factory=list, max_length=len(EVENT_TYPES))


class ReplayForm(Form):
    """Since when events that were given up are to be sent again."""

    since: Instant


class WebhookView(View):
    """An endpoint; `note` says why it is disabled. Two secrets sign until `rotated_until`."""

    id: str
    url: str
    types: list[str]
    state: Literal["active", "disabled"]
    note: str | None
    rotated_until: datetime | None
    created_at: datetime


class NewWebhook(WebhookView):
    """An endpoint as made or rotated: the `secret` is shown this once."""

    secret: str


class WebhookPage(View):
    """A page of endpoints, oldest first."""

    items: list[WebhookView]
    next_cursor: str | None


class AttemptView(View):
    """One attempt: the status it was answered with, or what went wrong."""

    at: datetime
    status: int | None
    error: str | None
    took_ms: int


class DeliveryView(View):
    """An event on its way to an endpoint; `id` is what the `webhook-id` header says.

    `log` has the last few attempts, oldest first, and `last_answer` the beginning of what came
    back; `next_attempt_at` is null once it is done.
    """

    id: str
    type: str
    sale_id: str | None
    order_id: str | None
    state: State
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None
    done_at: datetime | None
    last_answer: str | None
    log: list[AttemptView]


class DeliveryPage(View):
    """A page of deliveries, newest first."""

    items: list[DeliveryView]
    next_cursor: str | None


class ReplayView(View):
    """How many deliveries are sent again; at 10,000 there may be more."""

    replayed: int


class DeliveryQuery(PageQuery):
    """How deliveries are paged, and those of which state."""

    state: State | None = None
