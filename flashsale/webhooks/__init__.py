"""Outbound webhooks: what merchants asked to hear of. Never decides anything."""
