"""The calls about outbound webhooks: their part of the URL map."""

from __future__ import annotations

from flashsale.web import schemas as s
from flashsale.web import schemas_webhooks as h
from flashsale.web.api import webhooks
from flashsale.web.openapi import Auth, Route

_MANAGE, _PAGE = Auth.MANAGE, s.PageQuery
_HOOKS = "/v1/merchant/webhooks"
_HOOK = _HOOKS + "/{webhook}"
_UNKNOWN = ("unknown_webhook",)

# fmt: off
WEBHOOK_ROUTES = (
    Route("POST", _HOOKS, webhooks.create_webhook, _MANAGE, h.NewWebhook, ("webhook_limit",),
          status=201, body=h.WebhookForm, sends=("Location",)),
    Route("GET", _HOOKS, webhooks.list_webhooks, _MANAGE, h.WebhookPage, query=_PAGE),
    Route("GET", _HOOK, webhooks.read_webhook, _MANAGE, h.WebhookView, _UNKNOWN),
    Route("DELETE", _HOOK, webhooks.delete_webhook, _MANAGE, None, _UNKNOWN, status=204),
    Route("POST", _HOOK + "/enable", webhooks.enable_webhook, _MANAGE, h.WebhookView, _UNKNOWN),
    Route("POST", _HOOK + "/rotate", webhooks.rotate_webhook_secret, _MANAGE, h.NewWebhook,
          _UNKNOWN),
    Route("POST", _HOOK + "/test", webhooks.test_webhook, _MANAGE, h.DeliveryView,
          ("unknown_webhook", "unknown_delivery", "webhook_disabled"), status=202),
    Route("POST", _HOOK + "/replay", webhooks.replay_dead_deliveries, _MANAGE, h.ReplayView,
          _UNKNOWN, status=202, body=h.ReplayForm),
    Route("GET", _HOOK + "/deliveries", webhooks.list_deliveries, _MANAGE, h.DeliveryPage,
          _UNKNOWN, query=h.DeliveryQuery),
    Route("POST", _HOOK + "/deliveries/{delivery}/replay", webhooks.replay_delivery, _MANAGE,
          h.DeliveryView, ("unknown_webhook", "unknown_delivery", "delivery_pending"), status=202),
)
# fmt: on
