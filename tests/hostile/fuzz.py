"""Coverage-guided fuzzing of one target, or of all: `python -m tests.hostile.fuzz all -runs=5000`.

What follows the name is for libFuzzer; what it finds interesting stays in a folder that ends with
it. A failing input is written to the current folder: move it to the target's corpus.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["flashsale"]):
    from tests.hostile.targets import TARGETS

CORPUS = Path(__file__).with_name("corpus")


def seeds(name: str) -> list[bytes]:
    """The seeds of a target."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def any_target(data: bytes) -> None:
    """The target that the first byte names, on the rest."""
    if data:
        list(TARGETS.values())[data[0] % len(TARGETS)](data[1:])


def main() -> None:
    """Fuzz until libFuzzer has had enough; it ends the process."""
    name, *rest = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        for number, target in enumerate(TARGETS):
            for count, seed in enumerate(seeds(target)):
                if name in {target, "all"}:
                    prefix = bytes([number]) if name == "all" else b""
                    Path(folder, f"{target}-{count}").write_bytes(prefix + seed)
        target = any_target if name == "all" else TARGETS[name]
        atheris.Setup(["fuzz", folder, "-max_len=4096", *rest], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
