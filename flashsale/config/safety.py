"""What is set right and is unsafe all the same: secrets that can be guessed, promises not kept."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from flashsale.config.settings import Settings, plain, words

PREFIX = "FLASHSALE_"
SECRET_LENGTH_MIN = 32
_COMMON_SECRETS = ("secret", "changeme", "change-me", "password", "default", "example")
_COMMON_PASSWORDS = frozenset({*_COMMON_SECRETS, "admin", "flashsale", "postgres", "redis", "root"})
_SECRETS = (
    "order_id_secret",
    "sandbox_api_key",
    "sandbox_webhook_secrets",
    "stripe_api_key",
    "stripe_webhook_secrets",
)


def fault_of(settings: Settings) -> str | None:
    """What is unsafe, in one line that says what to set and shows no secret; else None.

    What signs is held to its length everywhere, passwords in production only.
    """
    return (
        _guessable_secret(settings)
        or _unfinished_provider(settings)
        or (_unfit_for_production(settings) if settings.mode == "production" else None)
    )


def _guessable_secret(settings: Settings) -> str | None:
    for name in _SECRETS:
        secret = getattr(settings, name)
        several = words(secret) if name.endswith("_secrets") else (plain(secret),)
        if any(_is_guessable(each) for each in several if each is not None):
            return (
                f"{name} is short or guessable: set {PREFIX}{name.upper()} to"
                f" {SECRET_LENGTH_MIN} random characters or more."
            )
    return None


def _unfinished_provider(settings: Settings) -> str | None:
    provider = settings.payments.provider
    if provider == "none":
        return None
    for name in (f"{provider}_api_key", f"{provider}_webhook_secrets"):
        if not words(getattr(settings, name)):
            return f"payments.provider is {provider}: set {PREFIX}{name.upper()} as well."
    if provider == "stripe" and not settings.payments.stripe_checkout_url:
        return "payments.stripe_checkout_url is empty: set it to the page where buyers pay."
    return None


def _unfit_for_production(settings: Settings) -> str | None:
    for name in ("redis_url", "postgres_dsn"):
        if _password(getattr(settings, name)).lower() in _COMMON_PASSWORDS:
            return (
                f"The password in {name} is one that everybody tries first: change it on the"
                f" server and in {PREFIX}{name.upper()}."
            )
    if settings.durability == "relaxed":
        return (
            'durability = "relaxed" may lose answered reservations: set durability = "strict",'
            ' or mode = "development" where that is meant.'
        )
    if settings.payments.provider == "sandbox" and not settings.payments.sandbox_in_production:
        return (
            'payments.provider = "sandbox" moves no real money: set payments.provider = "stripe",'
            " or payments.sandbox_in_production = true where that is meant."
        )
    if settings.payments.provider == "stripe" and settings.payments.stripe_url.startswith("http:"):
        return "payments.stripe_url without TLS shows the key to everybody: set it to https://…"
    return None


def _is_guessable(secret: str) -> bool:
    secret = secret.removeprefix("whsec_")
    return (
        len(secret) < SECRET_LENGTH_MIN
        or len(set(secret)) < 8
        or secret.lower().startswith(_COMMON_SECRETS)
    )


def _password(address: SecretStr | None) -> str:
    if address is None:
        return ""
    account, found, _ = urlsplit(address.get_secret_value()).netloc.rpartition("@")
    return unquote(account.partition(":")[2]) if found else ""
