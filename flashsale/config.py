"""Settings: frozen, read once at start from files and the environment; never read later."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from flashsale.shipped import shipped

PREFIX = "FLASHSALE_"
SECRET_LENGTH_MIN = 32
_COMMON_SECRETS = ("secret", "changeme", "change-me", "password", "default", "example")
#: Variables of ours that are not settings.
_OTHER_VARIABLES = frozenset({"FLASHSALE_CONFIG", "FLASHSALE_REDIS_BINARY"})
_OTHER_PREFIXES = ("FLASHSALE_TEST_", "FLASHSALE_POSTGRES_BIN")

Positive = Annotated[int, Field(gt=0)]


class ConfigError(Exception):
    """A setting is wrong; the message is one line that says what to set."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WebSettings(_Section):
    """The HTTP side."""

    host: str
    port: Annotated[int, Field(ge=0, le=65535)]
    body_bytes_max: Positive
    keepalive_seconds: Positive
    request_seconds_max: Positive
    connections_max: Positive
    stop_seconds_max: Positive


class ReservationSettings(_Section):
    """The Redis side."""

    batch_max: Annotated[int, Field(gt=0, le=512)]
    waiting_max: Positive
    redis_connections_max: Positive
    redis_timeout_ms: Positive
    watch_ms: Positive


class SettlementSettings(_Section):
    """The way into Postgres."""

    batch_rows_max: Positive
    in_flight_max: Positive
    block_ms: Positive
    reclaim_idle_ms: Positive
    deliveries_max: Positive
    postgres_connections_max: Positive


class TimekeeperSettings(_Section):
    """What happens by the clock."""

    tick_ms: Positive
    expire_batch_max: Annotated[int, Field(gt=0, le=1000)]
    records_keep_hours: Annotated[int, Field(ge=0)]


class MerchantSettings(_Section):
    """Bounds on what a merchant may ask for."""

    hold_seconds_min: Positive


class Settings(_Section):
    """Everything that can be set; `config/default.toml` explains each."""

    mode: Literal["development", "production"]
    durability: Literal["strict", "relaxed"]
    redis_url: SecretStr | None = None
    postgres_dsn: SecretStr | None = None
    order_id_secret: SecretStr | None = None
    web: WebSettings
    reservation: ReservationSettings
    settlement: SettlementSettings
    timekeeper: TimekeeperSettings
    merchant: MerchantSettings


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        known = merged.get(key)
        merged[key] = (
            _merge(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
        )
    return merged


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for variable, value in environment.items():
        if (
            not variable.startswith(PREFIX)
            or variable in _OTHER_VARIABLES
            or variable.startswith(_OTHER_PREFIXES)
        ):
            continue
        section, _, name = variable.removeprefix(PREFIX).lower().partition("__")
        if name:
            found.setdefault(section, {})[name] = value
        else:
            found[section] = value
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} does not exist: FLASHSALE_CONFIG must name a TOML file."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from error


def _names(model: type[BaseModel], prefix: str = "") -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += _names(field.annotation, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{name}: {first['msg'].lower()}. config/default.toml explains it."
    close = difflib.get_close_matches(name, _names(Settings), n=1)
    hint = f"; did you mean {close[0]}?" if close else "; config/default.toml lists them all."
    return f"{name} is not a setting{hint}"


def _check_production(settings: Settings) -> None:
    if settings.durability == "relaxed":
        raise ConfigError(
            'durability = "relaxed" may lose answered reservations: set durability = "strict",'
            ' or mode = "development" where that is meant.'
        )
    for name in ("redis_url", "postgres_dsn"):
        if getattr(settings, name) is None:
            raise ConfigError(f"{name} is not set: set {PREFIX}{name.upper()}.")


def _check_secret(settings: Settings) -> None:
    if settings.order_id_secret is None:
        return
    secret = settings.order_id_secret.get_secret_value()
    if (
        len(secret) < SECRET_LENGTH_MIN
        or len(set(secret)) < 8
        or secret.lower().startswith(_COMMON_SECRETS)
    ):
        raise ConfigError(
            f"order_id_secret is short or guessable: set {PREFIX}ORDER_ID_SECRET to"
            f" {SECRET_LENGTH_MIN} random characters or more."
        )


def load_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process: defaults, then the file FLASHSALE_CONFIG names, then variables.

    Raises ConfigError, one line, for an unknown name, a value that does not fit, or anything unsafe
    in production mode.
    """
    values = _read(shipped("config") / "default.toml")
    if environment.get("FLASHSALE_CONFIG"):
        values = _merge(values, _read(Path(environment["FLASHSALE_CONFIG"])))
    values = _merge(values, _from_environment(environment))
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from error
    if settings.reservation.batch_max > settings.reservation.waiting_max:
        raise ConfigError(
            "reservation.batch_max is above reservation.waiting_max: raise the latter."
        )
    _check_secret(settings)
    if settings.mode == "production":
        _check_production(settings)
    return settings
