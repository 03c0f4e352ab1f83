"""Any order of events, on real stores, against the model: what must always hold does.

FLASHSALE_MODEL_EXAMPLES and FLASHSALE_MODEL_STEPS make the run deeper, and another one each time;
without them it is the same everywhere. A failure prints what @reproduce_failure takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import SaleMachine
from tests.model.reach import scripts_in
from tests.model.world import open_world

EXAMPLES = int(os.environ.get("FLASHSALE_MODEL_EXAMPLES", "12"))
DEEP = "FLASHSALE_MODEL_EXAMPLES" in os.environ
SHRINK = os.environ.get("FLASHSALE_MODEL_SHRINK", str(int(DEEP))) == "1"
STEPS = int(os.environ.get("FLASHSALE_MODEL_STEPS", "30"))

#: What no run is so short as not to come across.
MET = {"RESERVED", "SOLD_OUT", "paying", "recovered", "interrupted"}


@contextlib.contextmanager
def machine(
    new_database: Callable, schema: str, redis_url: str, folder: Path, *faults: tuple[str, str, str]
) -> Iterator[type[SaleMachine]]:
    """The machine on a world of its own, whose scripts may have faults."""
    scripts = scripts_in(folder / "lua", *faults)
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()

        async def enter() -> object:
            dsn = await stack.enter_async_context(new_database(template=schema))
            return await stack.enter_async_context(open_world(dsn, redis_url, scripts, folder))

        world = runner.run(enter())
        try:
            fields = {"world": world, "loop": runner.get_loop(), "met": set()}
            yield type("SaleMachine", (SaleMachine,), fields)
        finally:
            runner.run(stack.aclose())


def bounds(examples: int, steps: int, **more: object) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        print_blob=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        **more,
    )


def test_whatever_happens_the_stores_are_what_the_model_says(
    new_database: Callable, schema: str, redis_url: str, tmp_path: Path
):
    with machine(new_database, schema, redis_url, tmp_path) as model:
        phases = set(Phase) if SHRINK else {Phase.explicit, Phase.reuse, Phase.generate}
        wanted = bounds(EXAMPLES, STEPS, phases=phases, derandomize=not DEEP, database=None)
        run_state_machine_as_test(model, settings=wanted)
        assert model.met >= MET, "a run that never met a case proved nothing of it"
