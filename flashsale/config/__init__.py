"""Settings: frozen, read once at start from files and the environment; never read later."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from flashsale.config.safety import PREFIX, fault_of
from flashsale.config.settings import Settings, plain, words
from flashsale.sentences import ended
from flashsale.shipped import shipped

__all__ = ["ConfigError", "Settings", "load_settings", "plain", "words"]

#: Variables of ours that are not settings.
_OTHER_VARIABLES = frozenset({"FLASHSALE_CONFIG", "FLASHSALE_REDIS_BINARY", "FLASHSALE_TRACEBACK"})
_OTHER_PREFIXES = ("FLASHSALE_TEST_", "FLASHSALE_POSTGRES_BIN")


class ConfigError(Exception):
    """A setting is wrong; the message is one line that says what to set."""


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
        raise ConfigError(ended(f"{path} is not TOML: {error}")) from error


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
    if (fault := fault_of(settings)) is not None:
        raise ConfigError(fault)
    return settings
