"""Every rule about money finds what breaks it; the checker is nobody's accomplice."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.checker import judge, never
from tests.chaos.checker_story import PRICE, Story, good_story, order_id
from tests.tidy.sources import ROOT, imported

WRONG = "an order is {} and its money is not what that means"


def found(story: Story, folder: Path) -> set[tuple[str, str]]:
    return {(broken.invariant, broken.what) for broken in judge(story.run(folder))}


def charged_twice(story: Story) -> None:
    story.money("captured", "ann", PRICE)


def never_charged(story: Story) -> None:
    del story.provider[0]


def kept_after_a_refund(story: Story) -> None:
    story.provider = [line for line in story.provider if line["kind"] != "refunded"]


def charged_for_nothing(story: Story) -> None:
    story.row("dora")["state"] = "expired"


def charged_for_a_lost_order(story: Story) -> None:
    story.lose_disk(4_700)
    story.forget("dora")


def unknown_payment(story: Story) -> None:
    story.money("captured", "nobody", PRICE)


def not_booked(story: Story) -> None:
    del story.postgres["ledger_entries"][0]


def booked_from_nowhere(story: Story) -> None:
    rows = story.postgres["ledger_entries"]
    rows.append(rows[0] | {"event_id": "evt-none"})


def booked_wrong(story: Story) -> None:
    story.postgres["ledger_entries"][0]["amount"] += 1


def added_up_wrong(story: Story) -> None:
    story.postgres["payments"][0]["captured"] += 1


def never_applied(story: Story) -> None:
    story.postgres["payments"][0]["applied_at"] = None


def paid_by_two(story: Story) -> None:
    story.postgres["payments"].append(story.postgres["payments"][0] | {"id": "pay-again"})


def promised_refund(story: Story) -> None:
    refund = {"order_id": order_id("eve"), "amount": PRICE, "cause": "cancelled"}
    story.postgres["refunds"].append(refund | {"state": "sent"})


@pytest.mark.parametrize(
    ("spoil", "invariant", "what"),
    [
        (charged_twice, "INV-12", WRONG.format("paid")),
        (never_charged, "INV-12", WRONG.format("paid")),
        (
            kept_after_a_refund,
            "INV-12",
            WRONG.format("refunded"),
        ),
        (charged_for_nothing, "INV-12", WRONG.format("expired")),
        (charged_for_a_lost_order, "INV-12", "somebody paid for a lost order"),
        (unknown_payment, "INV-12", "money moved for a payment that nobody knows"),
        (not_booked, "INV-12", "an event of the provider is not in the ledger"),
        (booked_from_nowhere, "INV-12", "the ledger has money that the provider has not"),
        (booked_wrong, "INV-12", "an amount was written down wrong"),
        (added_up_wrong, "INV-12", "a payment's captured is not the ledger's"),
        (never_applied, "INV-18", "money came in and never reached its order"),
        (paid_by_two, "INV-12", "two payments pay one order"),
        (promised_refund, "INV-18", "a refund was promised and never ended"),
    ],
)
def test_what_is_broken_is_found(
    spoil: Callable[[Story], None], invariant: str, what: str, tmp_path: Path
):
    story = good_story()
    spoil(story)
    assert (invariant, what) in found(story, tmp_path)


def test_part_of_the_price_that_a_merchant_gave_back_is_not_missed(tmp_path: Path):
    story = good_story()
    story.money("refunded", "ann", 30)
    story.close()
    refund = {"order_id": order_id("ann"), "amount": 30, "cause": "merchant", "state": "done"}
    story.postgres["refunds"].append(refund)
    assert found(story, tmp_path) == set()


def test_what_must_happen_is_missed_where_it_never_does():
    whole = {"reclaims": 1, "expiries": 2, "late_payments": 1, "dead_letters": 1}
    runs = [{"sometimes": whole | {"recoveries": 0}}, {"sometimes": {}}]
    assert never(runs) == ["recoveries"]
    assert never([*runs, {"sometimes": {"recoveries": 1}}]) == []


def test_it_imports_nothing_of_what_it_judges():
    files = sorted((ROOT / "tests" / "chaos").glob("checker*.py"))
    assert len(files) > 5
    strangers = {name for path in files for name in imported(path) if "flashsale" in name}
    ours = {name for path in files for name in imported(path) if name.startswith("tests.")}
    assert strangers == set()
    others = {name for name in ours if not name.startswith("tests.chaos.checker")}
    assert others <= {"tests.chaos"}


def test_the_command_writes_its_verdict_and_tells_by_its_exit_code(tmp_path: Path):
    story = good_story()
    for spoil, code in ((lambda _: None, 0), (not_booked, 1)):
        spoil(story)
        story.run(tmp_path)
        command = [sys.executable, "-m", "tests.chaos.checker", str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        verdict = json.loads((tmp_path / "verdict.json").read_text())
        assert (done.returncode, verdict["holds"]) == (code, code == 0), done.stderr
        assert done.stdout.startswith("holds" if code == 0 else "BROKEN")
