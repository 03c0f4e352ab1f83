"""The sandbox beside a bundled engine: its folder, its secrets, its port. Must never log them."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from flashsale.embedded.errors import CredentialsError, PortTakenError
from flashsale.embedded.ports import held_port

HOST = "127.0.0.1"
_MODE = 0o600


@dataclass(frozen=True, slots=True)
class PlayMoney:
    """How the sandbox is reached, and what it and the engine trust each other by."""

    port: int
    api_key: str = field(repr=False)
    webhook_secret: str = field(repr=False)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.port}"

    def environment(self) -> Mapping[str, str]:
        """Settings with which an engine takes its money from here."""
        return {
            "FLASHSALE_PAYMENTS__PROVIDER": "sandbox",
            "FLASHSALE_PAYMENTS__SANDBOX_URL": self.url,
            "FLASHSALE_SANDBOX_API_KEY": self.api_key,
            "FLASHSALE_SANDBOX_WEBHOOK_SECRETS": self.webhook_secret,
        }

    def argv(self, data_dir: Path, callback_url: str) -> tuple[str, ...]:
        """What its command is called with; secrets come by the environment."""
        return (
            *("sandbox", "--host", HOST, "--port", str(self.port), "--share-port"),
            *("--storage", str(data_dir / "sandbox" / "sandbox.db")),
            *("--callback-url", callback_url),
        )


def load(data_dir: Path) -> PlayMoney | None:
    """What a data folder has; None where no sandbox ever ran. CredentialsError where damaged."""
    path = _file(data_dir)
    try:
        return PlayMoney(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError):
        raise CredentialsError(f"{path} cannot be read; nothing was changed.") from None


@contextlib.contextmanager
def beside(data_dir: Path) -> Iterator[PlayMoney]:
    """A sandbox's place, its port held: that of the last run where it is free.

    Checkout addresses that were given out go on working as long as the port does.
    """
    known = load(data_dir)
    with contextlib.ExitStack() as stack:
        try:
            port = stack.enter_context(held_port(HOST, 0 if known is None else known.port))
        except PortTakenError:
            port = stack.enter_context(held_port(HOST, 0))
        place = PlayMoney(
            port,
            secrets.token_urlsafe(32) if known is None else known.api_key,
            _new_secret() if known is None else known.webhook_secret,
        )
        if place != known:
            _save(data_dir, place)
        yield place


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _file(data_dir: Path) -> Path:
    return data_dir / "sandbox" / "secrets.json"


def _save(data_dir: Path, place: PlayMoney) -> None:
    path = _file(data_dir)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_suffix(".json.new")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, _MODE)
        json.dump(asdict(place), file, indent=2)
        file.flush()
        os.fsync(descriptor)
    unfinished.replace(path)
