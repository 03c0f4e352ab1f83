"""What `run.py` tells the locust processes: one private file, named in the environment."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

VARIABLE = "LOADTEST_PLAN"


@dataclass(frozen=True, slots=True)
class LocustPlan:
    """A run. It holds the key that buyers' tokens are signed with, so the file is private."""

    profile: str
    minutes: float | None
    sale: str
    sku: str
    starts_at_ms: int
    merchant_id: str
    kid: str
    secret: str
    results: str

    def save(self, path: Path) -> None:
        """Write the file, mode 0600 from its first byte."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(self), file)

    @classmethod
    def load(cls) -> LocustPlan:
        """The plan that the environment names."""
        return cls(**json.loads(Path(os.environ[VARIABLE]).read_text(encoding="utf-8")))

    @property
    def stop_file(self) -> Path:
        """Exists once the run may end."""
        return Path(self.results) / "stop"

    @property
    def ending_file(self) -> Path:
        """Exact totals, written by locust as it ends."""
        return Path(self.results) / "ending.json"
