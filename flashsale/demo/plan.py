"""What a load driver is told to do; a value that travels as one line of JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Self

from flashsale.demo.crowd import Mix


@dataclass(frozen=True, slots=True)
class Plan:
    """What a driver is to do; `rate` is requests a second in all, None as fast as it goes.

    `answers_path`: where the id of every order answered is written, one a line. The crowd comes
    `early_seconds` before `starts_at_ms`. `silence_seconds_max`: without any answer for this long
    the driver gives up.
    """

    base_url: str
    sale: str
    sku: str
    units: int
    starts_at_ms: int
    merchant_id: str
    kid: str
    secret: str
    prefix: str
    answers_path: str
    connections: int = 64
    rate: float | None = None
    early_seconds: float = 0.1
    silence_seconds_max: float = 30.0
    mix: Mix = field(default_factory=Mix)

    def to_json(self) -> str:
        """The plan as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The plan that `to_json` wrote."""
        values = json.loads(text)
        return cls(**{**values, "mix": Mix(**values["mix"])})
