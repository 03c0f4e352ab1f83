"""What a process says: one JSON object a line, whoever says it, and nothing of what it holds."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import logging, warnings
import structlog
from flashsale.logs import configure_logs

configure_logs()
log, library = structlog.get_logger(), logging.getLogger("library")

def work(password):
    raise ValueError("no")

log.info("started", process="web")
library.info("nobody wants to know")
library.warning("%s is slow", "it")
warnings.warn("old")
try:
    work("s3cret")
except ValueError:
    log.exception("failed")
    library.warning("retrying", exc_info=True)
    library.exception("gave up")
"""


def test_every_line_is_json_and_no_line_holds_a_local_variable():
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True
    )
    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    events = [line["event"].partition("\n")[0] for line in lines]
    assert events[:2] == ["started", "it is slow"]
    assert "UserWarning: old" in events[2]
    assert events[3:] == ["failed", "retrying", "gave up"]
    failed, retrying, gave_up = lines[3:]
    assert "in work" in failed["exception"]
    assert retrying["error"] == gave_up["error"] == "ValueError: no"
    assert "in work" in gave_up["exception"]
    assert "exception" not in retrying, "what a library only warns of, it mends itself"
    assert all("level" in line and "timestamp" in line for line in lines)
    # The source line of the call may be shown, the value of the parameter may not.
    assert "s3cret" not in ran.stderr.replace('work(\\"s3cret\\")', "")
