"""Every setting as a frozen value; what fits one field, and what fits together in a section."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

Positive = Annotated[int, Field(gt=0)]
PerSecond = Annotated[int, Field(ge=0, le=1_000_000)]


def _address(*schemes: str) -> AfterValidator:
    """Holds an address to its schemes, without ever showing it: it may hold a password."""

    def check(address: SecretStr) -> SecretStr:
        starts = " or ".join(f"{each}://" for each in schemes)
        if not address.get_secret_value().startswith(tuple(f"{each}://" for each in schemes)):
            raise PydanticCustomError("address", "should start with {starts}", {"starts": starts})
        try:
            urlsplit(address.get_secret_value())
        except ValueError:
            raise PydanticCustomError("address", "cannot be read as an address") from None
        return address

    return AfterValidator(check)


RedisURL = Annotated[SecretStr, _address("redis", "rediss", "unix")]
PostgresDSN = Annotated[SecretStr, _address("postgresql", "postgres")]


def _signing(secrets: SecretStr) -> SecretStr:
    for secret in secrets.get_secret_value().replace(",", " ").split():
        if not secret.startswith("whsec_"):
            raise PydanticCustomError("secrets", "should be secrets that start with whsec_")
    return secrets


#: Secrets that providers sign with; during a rotation several, the newest first.
WebhookSecrets = Annotated[SecretStr, AfterValidator(_signing)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WebSettings(_Section):
    """The HTTP side."""

    host: str
    port: Annotated[int, Field(ge=0, le=65535)]
    keepalive_seconds: Positive
    request_seconds_max: Positive
    connections_max: Positive
    stop_seconds_max: Positive
    hsts_seconds: Annotated[int, Field(ge=0, le=63_072_000)]


def _networks(text: str) -> str:
    try:
        for word in text.replace(",", " ").split():
            ip_network(word)
    except ValueError:
        raise PydanticCustomError("networks", "should be networks such as 10.0.0.0/8") from None
    return text


class LimitSettings(_Section):
    """How often one caller may call."""

    buyer_per_second: PerSecond
    address_per_second: PerSecond
    sale_per_second: PerSecond
    burst_seconds: Annotated[int, Field(ge=1, le=60)]
    share_percent: Annotated[int, Field(ge=0, le=50)]
    subjects_max: Annotated[int, Field(ge=1000)]
    trusted_proxies: Annotated[str, AfterValidator(_networks)]
    exempt_networks: Annotated[str, AfterValidator(_networks)]


class ReservationSettings(_Section):
    """The Redis side."""

    batch_max: Annotated[int, Field(gt=0, le=512)]
    waiting_max: Positive
    redis_connections_max: Positive
    redis_timeout_ms: Positive
    watch_ms: Positive

    @model_validator(mode="after")
    def _a_batch_fits_what_may_wait(self) -> Self:
        if self.batch_max > self.waiting_max:
            raise PydanticCustomError("relation", "batch_max should not be above waiting_max")
        return self


class SettlementSettings(_Section):
    """The way into Postgres."""

    batch_rows_max: Positive
    in_flight_max: Positive
    block_ms: Positive
    reclaim_idle_ms: Positive
    deliveries_max: Positive
    postgres_connections_max: Positive

    @model_validator(mode="after")
    def _a_patient_reader_is_not_taken_for_dead(self) -> Self:
        if self.block_ms >= self.reclaim_idle_ms:
            raise PydanticCustomError("relation", "block_ms should be below reclaim_idle_ms")
        return self


class TimekeeperSettings(_Section):
    """What happens by the clock."""

    tick_ms: Positive
    expire_batch_max: Annotated[int, Field(gt=0, le=1000)]
    records_keep_minutes: Annotated[int, Field(ge=0)]


class MerchantSettings(_Section):
    """Bounds on what a merchant may ask for."""

    hold_seconds_min: Positive


class PaymentSettings(_Section):
    """How money comes in."""

    provider: Literal["none", "sandbox", "stripe"]
    sandbox_url: Annotated[str, Field(pattern=r"^https?://[^/@\s]+$")]
    sandbox_in_production: bool
    stripe_url: Annotated[str, Field(pattern=r"^https?://[^/@\s]+$")]
    stripe_checkout_url: str
    checkout_seconds_max: Annotated[int, Field(ge=30, le=86_400)]
    provider_timeout_ms: Annotated[int, Field(ge=100, le=30_000)]
    provider_connections_max: Positive
    postgres_connections_max: Positive


class WebhookSettings(_Section):
    """What merchants are told of, at addresses of theirs."""

    keep_days: Annotated[int, Field(gt=3)]
    endpoints_max: Positive


class CheckSettings(_Section):
    """What is looked at while sales run."""

    reconcile_seconds: Annotated[int, Field(ge=1, le=3600)]
    disk_free_min_mb: Annotated[int, Field(ge=0)]


class Settings(_Section):
    """Everything that can be set; `config/default.toml` explains each."""

    mode: Literal["development", "production"]
    durability: Literal["strict", "relaxed"]
    redis_url: RedisURL | None = None
    postgres_dsn: PostgresDSN | None = None
    order_id_secret: SecretStr | None = None
    sandbox_api_key: SecretStr | None = None
    sandbox_webhook_secrets: WebhookSecrets | None = None
    stripe_api_key: SecretStr | None = None
    stripe_webhook_secrets: WebhookSecrets | None = None
    web: WebSettings
    limits: LimitSettings
    reservation: ReservationSettings
    settlement: SettlementSettings
    timekeeper: TimekeeperSettings
    checks: CheckSettings
    merchant: MerchantSettings
    payments: PaymentSettings
    webhooks: WebhookSettings


def words(secret: SecretStr | None) -> tuple[str, ...]:
    """Secrets that stand in one setting, separated by spaces or commas."""
    return () if secret is None else tuple(secret.get_secret_value().replace(",", " ").split())


def plain(secret: SecretStr | None) -> str | None:
    """The text of a secret."""
    return None if secret is None else secret.get_secret_value()
