"""Settings: frozen, read once at start from files and the environment; never read later."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from flashsale.shipped import shipped

PREFIX = "FLASHSALE_"
SECRET_LENGTH_MIN = 32
_COMMON_SECRETS = ("secret", "changeme", "change-me", "password", "default", "example")
_COMMON_PASSWORDS = frozenset({*_COMMON_SECRETS, "admin", "flashsale", "postgres", "redis", "root"})
#: Variables of ours that are not settings.
_OTHER_VARIABLES = frozenset({"FLASHSALE_CONFIG", "FLASHSALE_REDIS_BINARY", "FLASHSALE_TRACEBACK"})
_OTHER_PREFIXES = ("FLASHSALE_TEST_", "FLASHSALE_POSTGRES_BIN")

Positive = Annotated[int, Field(gt=0)]


class ConfigError(Exception):
    """A setting is wrong; the message is one line that says what to set."""


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


class Settings(_Section):
    """Everything that can be set; `config/default.toml` explains each."""

    mode: Literal["development", "production"]
    durability: Literal["strict", "relaxed"]
    redis_url: RedisURL | None = None
    postgres_dsn: PostgresDSN | None = None
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
            or not value  # how compose files and unit files say "unset"
            or variable in _OTHER_VARIABLES
            or variable.startswith(_OTHER_PREFIXES)
        ):
            continue
        section, _, name = variable.removeprefix(PREFIX).lower().partition("__")
        if not name:
            found[section] = value
        elif isinstance(known := found.setdefault(section, {}), dict):
            known[name] = value
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}): FLASHSALE_CONFIG must name a TOML file."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from error


def _names(model: type[BaseModel], prefix: str = "") -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += [name, *_names(field.annotation, f"{prefix}{name}.")]
        else:
            names.append(prefix + name)
    return names


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    defaults = shipped("config") / "default.toml"
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(name, _names(Settings), n=1)
        hint = f"did you mean {close[0]}?" if close else f"{defaults} lists them all."
        return f"{name} is not a setting; {hint}"
    if first["type"] == "model_type":
        return f"{name} is a section of settings, not a value; {defaults} lists them all."
    return f"{name}: {first['msg'][:1].lower()}{first['msg'][1:]}; {defaults} explains it."


def _check_secrets(settings: Settings) -> None:
    """Refuse what can be guessed: everywhere what signs, in production passwords as well."""
    secret = settings.order_id_secret
    if secret is not None and _is_guessable(secret.get_secret_value()):
        raise ConfigError(
            f"order_id_secret is short or guessable: set {PREFIX}ORDER_ID_SECRET to"
            f" {SECRET_LENGTH_MIN} random characters or more."
        )
    if settings.mode == "production":
        for name in ("redis_url", "postgres_dsn"):
            if _password(getattr(settings, name)).lower() in _COMMON_PASSWORDS:
                raise ConfigError(
                    f"The password in {name} is one that everybody tries first: change it on the"
                    f" server and in {PREFIX}{name.upper()}."
                )


def _is_guessable(secret: str) -> bool:
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
    _check_secrets(settings)
    if settings.mode == "production" and settings.durability == "relaxed":
        raise ConfigError(
            'durability = "relaxed" may lose answered reservations: set durability = "strict",'
            ' or mode = "development" where that is meant.'
        )
    return settings
