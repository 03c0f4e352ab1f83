"""`credentials.json`: how to reach what `up` runs; must never be readable by others."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from flashsale.embedded.errors import CredentialsError

FILE_NAME = "credentials.json"
_MODE = 0o600


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the file holds. `extra` are fields of other versions, kept as they were."""

    base_url: str
    merchant_id: str
    api_key: str = field(repr=False)
    buyer_signing_key: str = field(repr=False)
    console_url: str
    console_password: str = field(repr=False)
    redis_url: str
    postgres_dsn: str
    pids: Mapping[str, int]
    #: Where play money is paid; empty where another provider is used.
    sandbox_url: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, data_dir: Path) -> Self:
        """Read the file of a data folder; CredentialsError where it is missing or damaged."""
        path = data_dir / FILE_NAME
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            content.setdefault("sandbox_url", "")  # earlier versions had none
            known = {name: content.pop(name) for name in _field_names()}
            return cls(**known, extra=content)
        except FileNotFoundError:
            raise CredentialsError(
                f"There is no {path}: start `flashsale up --data-dir {data_dir}` first."
            ) from None
        except KeyError as missing:
            raise CredentialsError(f"{path} has no field {missing}; nothing was changed.") from None
        except (OSError, ValueError, AttributeError, TypeError):
            raise CredentialsError(f"{path} cannot be read; nothing was changed.") from None

    def save(self, data_dir: Path) -> None:
        """Replace the file of a data folder in one step; its mode is 0600 from the first byte."""
        path = data_dir / FILE_NAME
        content = {name: getattr(self, name) for name in _field_names()}
        content["pids"] = dict(self.pids)
        unfinished = path.with_suffix(".json.new")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, _MODE)
            json.dump({**self.extra, **content}, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(descriptor)
        unfinished.replace(path)


def _field_names() -> tuple[str, ...]:
    return tuple(each.name for each in fields(Credentials) if each.name != "extra")
