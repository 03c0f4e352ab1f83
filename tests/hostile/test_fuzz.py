"""The targets on their seeds, on seeds broken at random, and where a fuzzer leads them."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hostile.targets import TARGETS

CORPUS = Path(__file__).with_name("corpus")
SEEDS = {name: [p.read_bytes() for p in sorted((CORPUS / name).iterdir())] for name in TARGETS}
PIECES = [
    b"\0",
    b"\n",
    b"\r\n",
    b"\t",
    b'"',
    b":",
    b",",
    b";",
    b"=",
    b".",
    b"\xff",
    b"\xed\xa0\x80",
]
PIECES += [b"0", b"-1", b"1e999", b"NaN", b"null", b"[" * 40, b"\\ud800", b"\\u0000", b"9" * 30]


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_holds(name: str) -> None:
    assert SEEDS[name]
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@st.composite
def broken(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A seed with a few pieces taken out, put in, or doubled; or bytes of no meaning."""
    data = draw(st.one_of(st.sampled_from(seeds), st.binary(max_size=60)))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 8)))
        put = draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=4), st.just(data[:end])))
        data = data[:start] + put + data[end:]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_is_sent_is_read_or_refused(name: str) -> None:
    @settings(max_examples=150)
    @given(broken(SEEDS[name]))
    def hold(data: bytes) -> None:
        TARGETS[name](data)

    hold()


async def test_where_coverage_leads() -> None:
    """A short run with a fixed beginning; `make hostile` goes on for longer."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-m", "tests.hostile.fuzz", "all"),
        *("-runs=2000", "-seed=1", "-verbosity=0"),
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode(errors="replace")
